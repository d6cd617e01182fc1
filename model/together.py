"""Processes that each have a part of a batch, as losses over the whole batch see them.

Whoever trains in several processes gives the model such an object, `DvseForCausalLM.together`.
"""

from typing import Protocol

import torch


class Together(Protocol):
    """The processes of one training."""

    @property
    def count(self) -> int:
        """How many there are."""

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of what all of them pass, in place."""
