"""One step of the decoder as a function of plain arrays: ids and what was seen before, to logits.

Prompt and single token are the same graph: the number of rows, of new tokens and of tokens in the
cache are free. Positions, mask and cache come in and go out as arrays, under the names that
optimum's exports have, so that programs which know those find what they need.
"""

from typing import Any

import torch
from torch import nn

from ..errors import ModelConfigError
from ..rotary import rotary_table
from .attention import grouped_products
from .experts import UnrolledExperts

_LENGTH_DEPENDENT = ("dynamic", "longrope")  # scaled angles that change with the prompt


class DecoderStep(nn.Module):
    """A decoder, ready to be traced: fp32, in eval mode.

    Args:
        decoder: a `PlainDecoder` or a `DvseForCausalLM` in fp32. It is taken over: its attention
            and its experts are exchanged for ones that can be traced.

    Raises:
        ModelConfigError: positions whose angles depend on the length of the prompt.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.config = decoder.config
        self.decoder = decoder.eval().requires_grad_(False)
        self.inverse_frequencies: torch.Tensor
        self.register_buffer("inverse_frequencies", frequencies(decoder.model), persistent=False)
        self.angle_scale = angle_scale(decoder.model)
        decoder.attend_with("dvse_graph", grouped_products)
        for layer in decoder.model.layers:
            if hasattr(layer.mlp, "experts"):
                layer.mlp.experts = UnrolledExperts(layer.mlp.experts)

    @property
    def num_layers(self) -> int:
        """Layers, each with keys and values of its own in the cache."""
        return int(self.config.num_hidden_layers)

    @property
    def input_names(self) -> list[str]:
        """Names of the graph's inputs, in order."""
        return [
            "input_ids",
            "attention_mask",
            "position_ids",
            *self._cache_names("past_key_values"),
        ]

    @property
    def output_names(self) -> list[str]:
        """Names of the graph's outputs, in order."""
        return ["logits", *self._cache_names("present")]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        past: list[torch.Tensor],
    ) -> list[torch.Tensor]:
        """Return the logits `[B, 1, vocab_size]` behind the last token, and the cache with it.

        Args:
            input_ids: `[B, T]`.
            attention_mask: `[B, P + T]`, 0 for padding.
            position_ids: `[B, T]`.
            past: keys, values, keys, … of each layer, `[B, kv_heads, P, head_dim]`.
        """
        base = self.decoder.model
        hidden_states = base.embed_tokens(input_ids)
        rotations = self._rotations(position_ids)
        mask = additive_mask(attention_mask, input_ids.shape[1])
        cache = ConcatenatedCache(past)
        for layer in base.layers:
            hidden_states = layer(
                hidden_states,
                attention_mask=mask,
                position_embeddings=rotations,
                past_key_values=cache,
            )
        return [self.decoder.lm_head(base.norm(hidden_states[:, -1:])), *cache.present]

    def sample(self, *, batch: int = 2, num_new: int = 5, num_past: int = 3) -> tuple[Any, ...]:
        """Return inputs of these sizes, with padding in the first row."""
        mask = torch.ones(batch, num_past + num_new, dtype=torch.int64)
        mask[0, 0] = 0
        ids = torch.arange(batch * num_new).reshape(batch, num_new) % self.config.vocab_size
        positions = torch.arange(num_past, num_past + num_new).expand(batch, num_new)
        shape = (batch, self.config.num_key_value_heads, num_past, self.config.head_dim)
        past = [torch.zeros(shape) for _ in range(2 * self.num_layers)]
        return ids, mask, positions, past

    def dynamic_shapes(self) -> tuple[Any, ...]:
        """Return which sizes of `sample` are free, as `torch.export` takes it."""
        batch, new, past = (torch.export.Dim(n) for n in ("batch", "sequence", "past"))
        cache = {0: batch, 2: past}
        both = {0: batch, 1: torch.export.Dim.DYNAMIC}
        return {0: batch, 1: new}, both, {0: batch, 1: new}, [cache] * (2 * self.num_layers)

    def _cache_names(self, first: str) -> list[str]:
        return [f"{first}.{n}.{part}" for n in range(self.num_layers) for part in ("key", "value")]

    def _rotations(self, position_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        angles = position_ids[..., None].float() * self.inverse_frequencies
        both = torch.cat((angles, angles), dim=-1)
        cos, sin = both.cos() * self.angle_scale, both.sin() * self.angle_scale
        return rotary_table(cos, sin, self.config.head_dim)


class ConcatenatedCache:
    """Keys and values as arrays that came from outside, longer by the new tokens in each call.

    Attributes:
        present: keys, values, keys, … with the new ones.
    """

    def __init__(self, past: list[torch.Tensor]) -> None:
        self._past = past
        self.present: list[torch.Tensor] = []

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *args: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append `[B, kv_heads, T, head_dim]` to a layer and return all its keys and values."""
        keys = torch.cat((self._past[2 * layer_idx], key), dim=2)
        values = torch.cat((self._past[2 * layer_idx + 1], value), dim=2)
        self.present += [keys, values]
        return keys, values


def additive_mask(attention_mask: torch.Tensor, num_new: int) -> torch.Tensor:
    """Return 0 where a new token sees another and the lowest number elsewhere, `[B, 1, T, S]`.

    Finite, so that a row of padding, which sees nothing, gives numbers that nobody reads and no
    NaN.

    Example:
        >>> additive_mask(torch.tensor([[0, 1, 1]]), 2)[0, 0].eq(0).tolist()
        [[False, True, False], [False, True, True]]
    """
    length = attention_mask.shape[1]
    places = torch.arange(length, device=attention_mask.device)
    new = torch.arange(num_new, device=attention_mask.device) + (length - num_new)
    seen = (places <= new[:, None])[None, None] & attention_mask.bool()[:, None, None, :]
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)


def angle_scale(base: Any) -> float:
    """Return by what sines and cosines are multiplied; 1 unless positions are scaled."""
    return float(getattr(getattr(base, "rotary_emb", None), "attention_scaling", 1.0))


def frequencies(base: Any) -> torch.Tensor:
    """Return the inverse frequencies of a decoder's positions, fp32.

    Raises:
        ModelConfigError: they depend on the length of the prompt.
    """
    rotary = getattr(base, "rotary_emb", None)
    if rotary is None:
        return base._inverse_frequencies.clone()
    if rotary.rope_type in _LENGTH_DEPENDENT:
        raise ModelConfigError(
            f"rope_type {rotary.rope_type!r} turns positions by the length of the prompt, which a "
            "fixed graph cannot: export a model with another one."
        )
    return rotary.inv_freq.detach().float().clone()
