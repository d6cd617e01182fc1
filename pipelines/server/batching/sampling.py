"""From logits to the next token of each answer, each by its own rules.

A draw takes one number from the answer's own generator and finds it in the running sum of the
probabilities, so an answer with a seed comes out the same whatever else is in the batch.
"""

import random
from collections.abc import Sequence

import torch

from pipelines.answering.legal_tokens import LegalTokens, Phase
from pipelines.server.batching.batcher import GenerationRequest, Token

_COLDEST = 1e-6


class Chooser:
    """One answer's side of the draw: its phase, its constraint, its random numbers.

    Attributes:
        request: the rules.
        phase: which tokens are legal now.
    """

    def __init__(self, request: GenerationRequest, legal: LegalTokens) -> None:
        self.request = request
        self._legal = legal
        self.phase = legal.phase([], thinking=request.thinking)
        self._random = random.Random(request.sampling.seed)

    def draw(self) -> float:
        """Return the next number in 0 … 1."""
        return self._random.random()

    def allowed(self) -> torch.Tensor | None:
        """Return the constraint's `bool [vocab_size]`, `None` where there is none now."""
        if self.request.constraint is None or self.phase < Phase.FIRST:
            return None
        return self.request.constraint.allowed()

    def push(self, token_id: int) -> None:
        """Take the token that was chosen."""
        if self.request.constraint is not None and self.phase >= Phase.FIRST:
            self.request.constraint.push(token_id)
        self.phase = self._legal.after(self.phase, token_id)


class Sampler:
    """Chooses for a whole step.

    Args:
        legal: the table of legal tokens.
        device: where the logits are.
    """

    def __init__(self, legal: LegalTokens, *, device: str | torch.device = "cpu") -> None:
        shut = torch.full(legal.allowed.shape, -torch.inf)
        self._penalty = shut.masked_fill(legal.allowed, 0.0).to(device)

    def choose(self, logits: torch.Tensor, choosers: Sequence[Chooser]) -> list[Token]:
        """Return the next token of each answer.

        Args:
            logits: fp32 `[answers, vocab_size]`.
            choosers: one an answer.
        """
        scores = logits + self._penalty[[int(chooser.phase) for chooser in choosers]]
        for row, chooser in enumerate(choosers):
            allowed = chooser.allowed()
            if allowed is not None:
                scores[row].masked_fill_(~allowed.to(scores.device), -torch.inf)
        ids = scores.argmax(-1).tolist()
        drawn = [i for i, c in enumerate(choosers) if c.request.sampling.temperature > 0]
        if drawn:
            found = _draw(scores[drawn], [choosers[i] for i in drawn])
            for row, token_id in zip(drawn, found, strict=True):
                ids[row] = token_id
        return [
            Token(id=token_id)
            if chooser.request.num_logprobs is None
            else _with_logprobs(token_id, logits[row], chooser.request.num_logprobs)
            for row, (token_id, chooser) in enumerate(zip(ids, choosers, strict=True))
        ]


def _draw(scores: torch.Tensor, choosers: Sequence[Chooser]) -> list[int]:
    rules = [chooser.request.sampling for chooser in choosers]
    # The likeliest token keeps the score 0, so that a tiny temperature never overflows; one that
    # is nothing in fp32 would divide by zero.
    scores = scores - scores.amax(-1, keepdim=True)
    heats = [max(rule.temperature, _COLDEST) for rule in rules]
    heat = torch.tensor(heats, device=scores.device)
    probabilities = torch.softmax(scores / heat[:, None], dim=-1)
    for row, rule in enumerate(rules):
        if rule.top_p < 1.0:
            probabilities[row] = _nucleus(probabilities[row], rule.top_p)
    sums = probabilities.double().cumsum(-1)
    draws = torch.tensor([c.draw() for c in choosers], dtype=torch.float64, device=scores.device)
    wanted = (draws * sums[:, -1])[:, None]
    return torch.searchsorted(sums, wanted, right=True)[:, 0].clamp(max=sums.shape[1] - 1).tolist()


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keep the fewest likeliest tokens that reach `top_p` (Holtzman et al., 2020, section 3.1)."""
    ordered, order = probabilities.sort(descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    kept = order[(before < top_p)]
    result = torch.zeros_like(probabilities)
    result[kept] = probabilities[kept]
    return result


def _with_logprobs(token_id: int, logits: torch.Tensor, count: int) -> Token:
    logprobs = torch.log_softmax(logits, dim=-1)
    top = logprobs.topk(count) if count else None
    return Token(
        id=token_id,
        logprob=float(logprobs[token_id]),
        top=tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True)) if top else (),
    )
