"""One step of the decoder as devices run it: one conversation, its cache inside the program.

Phones have no allocator for a cache that grows and no loop over rows that a gate leaves open. So
the cache is an array of the whole context that the program keeps and writes into, and a gated FFN
runs for every token and is dropped where its gate is closed.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..rotary import rotary_table
from .attention import grouped_products
from .step import angle_scale, frequencies


class DeviceStep(nn.Module):
    """Ids `[1, T]` at `positions` `[T]` to the logits `[1, vocab_size]` behind the last one.

    A conversation begins at position 0; what the cache holds behind a position is never seen.

    Args:
        decoder: a `PlainDecoder` in fp32, or a `DvseForCausalLM` without experts. It is taken over.
        context: tokens that the cache holds, prompt and answer together.
        longest: tokens of one call, the largest prompt that is read at once.
        write: how new keys and values get into the cache, `write_rows` or `select_rows`.
    """

    input_names = ("input_ids", "positions")
    output_names = ("logits",)

    def __init__(
        self,
        decoder: Any,
        *,
        context: int,
        longest: int,
        write: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.write = write or write_rows
        self.config, self.context, self.longest = decoder.config, context, longest
        self.decoder = decoder.eval().requires_grad_(False)
        self.inverse_frequencies: torch.Tensor
        self.register_buffer("inverse_frequencies", frequencies(decoder.model), persistent=False)
        self.angle_scale = angle_scale(decoder.model)
        decoder.attend_with("dvse_graph", grouped_products)
        shape = (1, self.config.num_key_value_heads, context, self.config.head_dim)
        for number, layer in enumerate(decoder.model.layers):
            self.register_buffer(f"keys_{number}", torch.zeros(shape))
            self.register_buffer(f"values_{number}", torch.zeros(shape))
            if layer.token_gate is not None:
                threshold = self.config.gate_threshold(number)
                layer.mlp = DroppedFFN(layer.mlp, layer.token_gate, threshold)
                layer.token_gate = None

    def forward(self, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Read the tokens and write them into the cache."""
        base = self.decoder.model
        hidden_states = base.embed_tokens(input_ids)
        angles = positions[None, :, None].float() * self.inverse_frequencies
        both = torch.cat((angles, angles), dim=-1)
        cos, sin = both.cos() * self.angle_scale, both.sin() * self.angle_scale
        rotations = rotary_table(cos, sin, self.config.head_dim)
        is_hidden = (torch.arange(self.context) > positions[:, None]).float()
        mask = (is_hidden * torch.finfo(torch.float32).min)[None, None]
        cache = _WrittenCache(self, positions)
        for layer in base.layers:
            hidden_states = layer(
                hidden_states,
                attention_mask=mask,
                position_embeddings=rotations,
                past_key_values=cache,
            )
        return self.decoder.lm_head(base.norm(hidden_states[:, -1]))

    def sample(self) -> tuple[Any, ...]:
        """Return inputs to trace with."""
        num_new = min(3, self.longest)
        return torch.arange(num_new)[None], torch.arange(num_new)

    def dynamic_shapes(self) -> tuple[Any, ...]:
        """Return which sizes of `sample` are free."""
        new = torch.export.Dim("sequence", min=1, max=self.longest)
        return {1: new}, {0: new}


class DroppedFFN(nn.Module):
    """An FFN that runs for every token and counts where the gate is open.

    Args:
        ffn, gate: of the layer.
        threshold: logit from which on the gate is open.
    """

    def __init__(self, ffn: nn.Module, gate: nn.Module, threshold: float) -> None:
        super().__init__()
        self.ffn, self.gate, self.threshold = ffn, gate, threshold

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map `[..., hidden_size]` to the same shape, 0 where the gate is closed."""
        is_open = (self.gate(hidden_states) >= self.threshold).float()
        return self.ffn(hidden_states) * is_open.unsqueeze(-1)


class _WrittenCache:
    def __init__(self, step: DeviceStep, positions: torch.Tensor) -> None:
        self._step, self._positions = step, positions

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *args: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write `[1, kv_heads, T, head_dim]` to its positions and return all of the context."""
        both = (("keys", key), ("values", value))
        keys, values = (
            self._step.write(getattr(self._step, f"{name}_{layer_idx}"), self._positions, new)
            for name, new in both
        )
        return keys, values


def write_rows(array: torch.Tensor, positions: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Write `new` `[1, kv_heads, T, head_dim]` into the array at `positions`, and return it.

    >>> write_rows(torch.zeros(1, 1, 3, 1), torch.tensor([1]), torch.ones(1, 1, 1, 1)).flatten()
    tensor([0., 1., 0.])
    """
    return array.index_copy_(2, positions, new)


def select_rows(array: torch.Tensor, positions: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """The same by a choice for every row of the array, for runtimes that cannot write to an index.

    >>> select_rows(torch.zeros(1, 1, 3, 1), torch.tensor([1]), torch.ones(1, 1, 1, 1)).flatten()
    tensor([0., 1., 0.])
    """
    places = torch.arange(array.shape[2], device=array.device)
    is_mine = (places[:, None] == positions).to(new.dtype)  # [context, T], at most one a row
    is_new = is_mine.sum(dim=1)[:, None]
    return array.copy_(array * (1.0 - is_new) + is_mine @ new)
