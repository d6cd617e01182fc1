"""The constraint on legal tokens as a logits processor of torch."""

import torch

from pipelines.answering.legal_tokens import LegalTokens, Phase


class LegalAnswer:
    """For `generate(logits_processor=[...])`: forbids all that `LegalTokens` does not allow.

    Prompts go in as `inputs_embeds`, so that `input_ids` holds the answers and nothing else.

    Args:
        legal: the table.
        thinking: whether the prompts leave `<think>` open.
    """

    def __init__(self, legal: LegalTokens, *, thinking: bool) -> None:
        self._legal = legal
        self._thinking = thinking
        self._penalty: torch.Tensor | None = None
        self._is_broken: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return `scores` `[B, vocab_size]` with minus infinity on what may not come next."""
        if self._penalty is None:
            allowed = self._legal.allowed.to(scores.device)
            shut = torch.full(allowed.shape, -torch.inf, dtype=scores.dtype, device=scores.device)
            self._penalty = shut.masked_fill(allowed, 0.0)
            self._is_broken = ~self._legal.utf8.allowed.to(scores.device)
        assert self._is_broken is not None
        scores = scores + self._penalty[self._phases(input_ids)]
        return scores.masked_fill(self._is_broken[self._legal.utf8.states(input_ids)], -torch.inf)

    def _phases(self, generated: torch.Tensor) -> "torch.Tensor | int":
        """The phase of each row, or of all rows where they share it."""
        length = generated.shape[1]
        if not self._thinking:
            return Phase.ANSWER if length else Phase.FIRST
        if not length:
            return Phase.OPENING
        is_end = generated == self._legal.end_think_id
        phases = torch.where(is_end.any(dim=1), Phase.ANSWER.value, Phase.REASONING.value)
        return torch.where(is_end[:, -1], Phase.FIRST.value, phases)
