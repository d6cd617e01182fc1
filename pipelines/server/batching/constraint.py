"""The contract of a constraint: which ids may continue an answer."""

from abc import ABC, abstractmethod

import torch


class Constraint(ABC):
    """Follows one answer's text and says what may come next. Reasoning is not constrained."""

    @abstractmethod
    def allowed(self) -> torch.Tensor:
        """Return `bool [vocab_size]`: ids that may come next, the ending ones included."""

    @abstractmethod
    def push(self, token_id: int) -> None:
        """Take the id that was chosen."""
