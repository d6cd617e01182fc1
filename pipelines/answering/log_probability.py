"""The log-probability of what a decoder says, added up while it says it."""

import torch


class LogProbability:
    """Adds up the log-probability of each row's tokens; for `generate(logits_processor=[...])`.

    It stands after the constraint on legal tokens and before sampling, so the figure is that of
    the distribution from which an answer is chosen at temperature 1. Tokens after a stop do not
    count, the stop itself does.

    Args:
        stop_ids: ids that end an answer.
    """

    def __init__(self, stop_ids: list[int]) -> None:
        self._stop_ids = stop_ids
        self._waiting: torch.Tensor | None = None
        self._sum = torch.zeros(0)
        self._is_open = torch.zeros(0, dtype=torch.bool)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Remember the distribution of the next token; return `scores` as they are."""
        if self._waiting is None:
            self._sum = torch.zeros(len(scores), device=scores.device)
            self._is_open = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
        else:
            self._take(input_ids[:, -1])
        self._waiting = scores.log_softmax(dim=-1)
        return scores

    def finish(self, sequences: torch.Tensor) -> list[float]:
        """Return a sum a row, given what `generate` returned."""
        if self._waiting is not None:
            self._take(sequences[:, -1])
        return self._sum.tolist()

    def _take(self, token_ids: torch.Tensor) -> None:
        assert self._waiting is not None
        chosen = self._waiting.gather(1, token_ids[:, None])[:, 0]
        self._sum = self._sum + torch.where(self._is_open, chosen, 0.0)
        stops = torch.tensor(self._stop_ids, device=token_ids.device)
        self._is_open = self._is_open & ~torch.isin(token_ids, stops)
