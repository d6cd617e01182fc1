"""Key/value caches that grow with room to spare.

transformers' dynamic cache copies all keys and values at every token to append one. Here a layer
keeps a larger array, writes new tokens behind the old ones and hands out the filled part, so that a
decoding step reads the cache once instead of copying it and then reading it (`plain.growing_arrays`
has the figures). The cache object, its methods and its shapes are transformers'.
"""

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from .linear import is_plain_eager
from .plain.growing_arrays import with_room


class GrowingLayer(DynamicLayer):
    """A `DynamicLayer` whose arrays have room behind the last token.

    `keys` and `values` are views `[B, kv_heads, T, head_dim]` of the filled part. Where gradients
    are wanted or a graph is traced it concatenates, as its base class does.

    Example:
        >>> layer = GrowingLayer()
        >>> token = torch.ones(1, 2, 1, 4)
        >>> for _ in range(3):
        ...     keys, values = layer.update(token, token)
        >>> keys.shape, layer.get_seq_length()
        (torch.Size([1, 2, 3, 4]), 3)
    """

    # The arrays with their room; None before the first token and after a reset.
    _keys: Any
    _values: Any

    def __init__(self, **kwargs: Any) -> None:
        self._length = 0
        super().__init__(**kwargs)

    @property
    def keys(self) -> torch.Tensor | None:
        """The filled part of the keys."""
        return _filled(self._keys, self._length)

    @keys.setter
    def keys(self, keys: torch.Tensor | None) -> None:
        self._keys = keys
        self._length = 0 if keys is None or keys.dim() < 2 else keys.shape[-2]

    @property
    def values(self) -> torch.Tensor | None:
        """The filled part of the values."""
        return _filled(self._values, self._length)

    @values.setter
    def values(self, values: torch.Tensor | None) -> None:
        self._values = values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append `[B, kv_heads, T, head_dim]` and return all keys and values."""
        if torch.is_grad_enabled() or not is_plain_eager():
            return super().update(key_states, value_states, *args, **kwargs)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, stop = self._length, self._length + key_states.shape[-2]
        if start == 0 and key_states.shape[-2] > 1:
            # A prompt is kept as it came: a call that never decodes pays for no copy.
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        if self._keys.dim() < 2 or stop > self._keys.shape[-2]:
            self._keys = with_room(self._keys, key_states, start, stop)
            self._values = with_room(self._values, value_states, start, stop)
        self._keys[..., start:stop, :] = key_states
        self._values[..., start:stop, :] = value_states
        self._length = stop
        return self._keys[..., :stop, :], self._values[..., :stop, :]

    def crop(self, tokens_to_remove: int) -> None:
        """Drop the last `-tokens_to_remove` tokens; their room stays."""
        if tokens_to_remove > 0 or not self.is_initialized:
            super().crop(tokens_to_remove)
        else:
            self._length = max(self._length + tokens_to_remove, 0)


def let_grow(cache: Cache | None) -> None:
    """Give an empty `DynamicCache` growing layers; any other cache is left as it is."""
    if type(cache) is not DynamicCache or cache.offloading:
        return
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = GrowingLayer
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and not layer.is_initialized:
            cache.layers[index] = GrowingLayer()


def _filled(array: torch.Tensor | None, length: int) -> torch.Tensor | None:
    if array is None or array.dim() < 2 or array.shape[-2] == length:
        return array
    return array[..., :length, :]
