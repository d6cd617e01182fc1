"""From logits to the next token of each answer, each by its own rules.

A draw takes one number from the answer's own generator and finds it in the running sum of the
probabilities, so an answer with a seed comes out the same whatever else is in the batch.
"""

import random
from collections.abc import Sequence

import torch

from pipelines.answering.legal_tokens import LegalTokens, Phase
from pipelines.answering.utf8 import WHOLE
from pipelines.server.batching.batcher import GenerationRequest, Sampling, Token
from pipelines.server.batching.penalties import Penalties

_COLDEST = 1e-6


class Chooser:
    """One answer's side of the draw: its phase, its constraint, its random numbers.

    Attributes:
        request: the rules.
        phase: which tokens are legal now.
        character: what is missing of the last character, a state of `LegalTokens.utf8`.
        penalties: what changes its scores, `None` where nothing does.
    """

    def __init__(self, request: GenerationRequest, legal: LegalTokens) -> None:
        self.request = request
        self._legal = legal
        self.phase = legal.phase([], thinking=request.thinking)
        self.character = WHOLE
        self.penalties = Penalties.of(request.sampling, request.prompt_ids)
        self._random = random.Random(request.sampling.seed)
        for token_id in request.prompt_ids[len(request.prompt_ids) - request.begun :]:
            self.push(token_id)

    def draw(self) -> float:
        """Return the next number in 0 … 1."""
        return self._random.random()

    def allowed(self) -> torch.Tensor | None:
        """Return `bool [vocab_size]` under the constraint, `None` where there is none now.

        Nothing is allowed where the constraint has no continuation in this vocabulary.
        """
        if self.request.constraint is None or self.phase < Phase.FIRST:
            return None
        wanted = self.request.constraint.allowed()
        legal = self._legal.allowed[Phase.ANSWER]  # a form may be complete with nothing
        return wanted & legal & self._legal.utf8.allowed[self.character]

    def push(self, token_id: int) -> None:
        """Take the token that was chosen."""
        if self.request.constraint is not None and self.phase >= Phase.FIRST:
            self.request.constraint.push(token_id)
        if self.penalties is not None:
            self.penalties.push(token_id)
        self.phase = self._legal.after(self.phase, token_id)
        self.character = self._legal.utf8.after(self.character, token_id)


class Sampler:
    """Chooses for a whole step.

    Args:
        legal: the table of legal tokens.
        device: where the logits are.
    """

    def __init__(self, legal: LegalTokens, *, device: str | torch.device = "cpu") -> None:
        self._legal, self._device = legal, device
        self._rows: dict[tuple[Phase, int], torch.Tensor] = {}

    def choose(self, logits: torch.Tensor, choosers: Sequence[Chooser]) -> list[Token | None]:
        """Return the next token of each answer, `None` for one that cannot go on.

        Args:
            logits: fp32 `[answers, vocab_size]`.
            choosers: one an answer.
        """
        scores = logits + self._penalty([(c.phase, c.character) for c in choosers])
        stuck = {row for row, c in enumerate(choosers) if not self._shape(scores, logits, row, c)}
        ids = scores.argmax(-1).tolist()
        drawn = [
            i
            for i, c in enumerate(choosers)
            if c.request.sampling.temperature > 0 and i not in stuck
        ]
        if drawn:
            found = _draw(scores[drawn], [choosers[i] for i in drawn])
            for row, token_id in zip(drawn, found, strict=True):
                ids[row] = token_id
        return [
            None if row in stuck else _token(token_id, logits[row], chooser.request.num_logprobs)
            for row, (token_id, chooser) in enumerate(zip(ids, choosers, strict=True))
        ]

    def _penalty(self, states: Sequence[tuple[Phase, int]]) -> torch.Tensor:
        """0 where a token is legal and minus infinity elsewhere, one row where all are alike.

        Most answers of a step are between two characters of their text; a row of its own for each
        of them would cost as much time as the choice itself.
        """
        for state in set(states) - self._rows.keys():
            phase, character = state
            allowed = self._legal.allowed[phase] & self._legal.utf8.allowed[character]
            shut = torch.full(allowed.shape, -torch.inf)
            self._rows[state] = shut.masked_fill(allowed, 0.0).to(self._device)
        if len(set(states)) == 1:
            return self._rows[states[0]][None]
        return torch.stack([self._rows[state] for state in states])

    def _shape(
        self, scores: torch.Tensor, logits: torch.Tensor, row: int, chooser: Chooser
    ) -> bool:
        """Bring one answer's own rules to its scores; false where they leave nothing."""
        allowed = chooser.allowed()
        if allowed is not None:
            if not bool(allowed.any()):
                return False
            scores[row] = logits[row].masked_fill(~allowed.to(scores.device), -torch.inf)
        if chooser.penalties is not None:
            chooser.penalties.apply(scores[row])
        return True


def _draw(scores: torch.Tensor, choosers: Sequence[Chooser]) -> list[int]:
    rules = [chooser.request.sampling for chooser in choosers]
    # The likeliest token keeps the score 0, so that a tiny temperature never overflows; one that
    # is nothing in fp32 would divide by zero.
    scores = scores - scores.amax(-1, keepdim=True)
    heats = [max(rule.temperature, _COLDEST) for rule in rules]
    heat = torch.tensor(heats, device=scores.device)
    probabilities = torch.softmax(scores / heat[:, None], dim=-1)
    for row, rule in enumerate(rules):
        if rule.top_p < 1.0 or rule.top_k or rule.min_p:
            probabilities[row] = _narrowed(probabilities[row], rule)
    sums = probabilities.double().cumsum(-1)
    draws = torch.tensor([c.draw() for c in choosers], dtype=torch.float64, device=scores.device)
    wanted = (draws * sums[:, -1])[:, None]
    return torch.searchsorted(sums, wanted, right=True)[:, 0].clamp(max=sums.shape[1] - 1).tolist()


def _narrowed(probabilities: torch.Tensor, rule: Sampling) -> torch.Tensor:
    """Keep the likeliest tokens: `top_k` of them, of these the nucleus, of these by `min_p`.

    The likeliest always stays. Sources: Fan et al., 2018 (top-k); Holtzman et al., 2020,
    section 3.1 (nucleus: the fewest that reach `top_p`); Nguyen et al., 2024 (min-p).
    """
    ordered, order = probabilities.sort(descending=True, stable=True)
    if rule.top_k:
        ordered, order = ordered[: rule.top_k], order[: rule.top_k]
    before = ordered.cumsum(-1) - ordered
    is_kept = (before < rule.top_p * ordered.sum()) & (ordered >= rule.min_p * ordered[0])
    is_kept[0] = True
    kept = order[is_kept]
    result = torch.zeros_like(probabilities)
    result[kept] = probabilities[kept]
    return result


def _token(token_id: int, logits: torch.Tensor, num_logprobs: int | None) -> Token:
    if num_logprobs is None:
        return Token(id=token_id)
    logprobs = torch.log_softmax(logits, dim=-1)
    top = logprobs.topk(num_logprobs) if num_logprobs else None
    return Token(
        id=token_id,
        logprob=float(logprobs[token_id]),
        top=tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True)) if top else (),
    )
