"""Keys and values of all layers, as the layers call it: transformers' names, none of its code."""

from typing import Any

import torch

from .growing_arrays import GrowingArrays


class PlainCache:
    """What the plain decoder has seen.

    Attributes:
        layers: an entry a layer.
    """

    def __init__(self, num_layers: int) -> None:
        self.layers = [GrowingArrays() for _ in range(num_layers)]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of tokens held."""
        return self.layers[layer_idx].length

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *args: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append `[B, kv_heads, T, head_dim]` to a layer and return all its keys and values."""
        return self.layers[layer_idx].append(key, value)
