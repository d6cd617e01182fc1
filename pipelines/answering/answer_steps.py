"""The contract of what computes a batch of answers: a token of each, a step at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipelines.answering.legal_tokens import LegalTokens
    from pipelines.answering.model_directory import LoadedModel
    from pipelines.answering.settings import AnswerSettings


class AnswerSteps(ABC):
    """One batch on its way; iterated once.

    Args:
        loaded: decoder and tokenizer.
        legal: which tokens an answer may have.
        prompts: `int64 [n]` each.
        settings: how.
        num_steps: the most tokens of an answer.
        score: add up log-probabilities.
    """

    @abstractmethod
    def __init__(
        self,
        loaded: "LoadedModel",
        legal: "LegalTokens",
        prompts: Sequence[np.ndarray],
        settings: "AnswerSettings",
        *,
        num_steps: int,
        score: bool,
    ) -> None: ...

    @abstractmethod
    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the next id of each row, `int64 [B]`, until all rows have ended.

        A row that has ended is filled up with padding. Closing the iterator ends the work.
        """

    @abstractmethod
    def log_probabilities(self) -> list[float] | None:
        """Return, behind the last step, the sum of each row; `None` where none was asked for."""
