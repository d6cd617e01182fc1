"""Scores that depend on what was said already, and on what the client would rather hear.

    s ← s / r  or  s · r        repetition, in prompt and answer (Keskar et al., 2019, section 4.1)
    s ← s − f · count − p       frequency and presence, in the answer (OpenAI's definition)
    s ← s + bias                by id

Made only for answers that ask for it: the others cost nothing.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from pipelines.server.batching.batcher import Sampling


class Penalties:
    """One answer's.

    Args:
        sampling: the rules.
        prompt_ids: what the repetition penalty counts from the start.
    """

    def __init__(self, sampling: Sampling, prompt_ids: Sequence[int]) -> None:
        self._rules = sampling
        self._counts: Counter[int] = Counter()
        self._seen = set(prompt_ids) if sampling.repetition_penalty != 1.0 else set()
        self._bias_ids = torch.tensor([i for i, _ in sampling.logit_bias], dtype=torch.long)
        self._bias = torch.tensor([bias for _, bias in sampling.logit_bias])

    @classmethod
    def of(cls, sampling: Sampling, prompt_ids: Sequence[int]) -> "Penalties | None":
        """Return those of an answer, `None` where no rule changes a score."""
        is_plain = (
            sampling.repetition_penalty == 1.0
            and not sampling.frequency_penalty
            and not sampling.presence_penalty
            and not sampling.logit_bias
        )
        return None if is_plain else cls(sampling, prompt_ids)

    def push(self, token_id: int) -> None:
        """Take the token that was chosen."""
        self._counts[token_id] += 1
        if self._rules.repetition_penalty != 1.0:
            self._seen.add(token_id)

    def apply(self, scores: torch.Tensor) -> None:
        """Change scores `[vocab_size]` in place."""
        device, rules = scores.device, self._rules
        if self._seen:
            seen = torch.tensor(sorted(self._seen), device=device)
            found, strength = scores[seen], rules.repetition_penalty
            scores[seen] = torch.where(found > 0, found / strength, found * strength)
        if self._counts and (rules.frequency_penalty or rules.presence_penalty):
            said = torch.tensor(list(self._counts), device=device)
            times = torch.tensor(list(self._counts.values()), device=device)
            scores[said] -= rules.frequency_penalty * times + rules.presence_penalty
        if len(self._bias_ids):
            scores[self._bias_ids.to(device)] += self._bias.to(device)
