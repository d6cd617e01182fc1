"""Keys and values of all answers in one array, and attention that reads each answer's own part.

Rows of a step lie side by side, `[1, N]`, whoever they belong to, so that every product runs once
for all. Attention alone tells answers apart, see `readers`. It is reached through transformers'
attention interface; the model is used as it is.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface

from pipelines.server.engine.readers import Reader, find_widest, readers_of
from pipelines.server.engine.step_plan import Copy, Run

ATTENTION_NAME = "dvse_packed"


class PackedCache:
    """Takes the place of a transformers cache for steps over many answers.

    Attributes:
        store: `[layers, num_tokens, 2, kv_heads, head_dim]`, of each token its key and its value.
    """

    layers: tuple[()] = ()
    is_compileable = False

    def __init__(
        self,
        *,
        num_layers: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        num_tokens: int,
        dtype: torch.dtype,
        device: str | torch.device,
    ) -> None:
        shape = (num_layers, num_tokens, 2, kv_heads, head_dim)
        self.store = torch.zeros(shape, dtype=dtype, device=device)
        self._layers = self.store.unbind(0)
        self._places = torch.zeros(0, dtype=torch.long, device=device)
        self._widest = find_widest(self.store, heads)
        self._readers: list[Reader] = []

    def copy(self, copies: Sequence[Copy]) -> None:
        """Copy keys and values from place to place."""
        for copy in copies:
            part = self.store.narrow(1, copy.source, copy.length)
            self.store.narrow(1, copy.target, copy.length).copy_(part)

    def open_step(self, places: torch.Tensor, runs: Sequence[Run]) -> None:
        """Say where the next step's rows `[N]` are written and what each run reads."""
        self._places = places
        self._readers = readers_of(self.store, runs, self._widest)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Always 0: positions come with the step."""
        return 0

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write `[1, kv_heads, N, head_dim]`; attention reads from the cache itself."""
        rows = torch.cat((key, value)).permute(2, 0, 1, 3)
        self._layers[layer_idx].index_copy_(0, self._places, rows)
        return key, value

    def attend(self, layer_idx: int, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Map queries `[1, heads, N, head_dim]` to `[1, N, heads, head_dim]`."""
        rows = query[0].transpose(0, 1)
        output = torch.zeros_like(rows, memory_format=torch.contiguous_format)
        for reader in self._readers:
            reader.read(layer_idx, rows, output, scaling)
        return output.unsqueeze(0)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed_cache: PackedCache,
    scaling: float,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend through the step's `PackedCache`; called by the model's layers."""
    layer_idx: Any = module.layer_idx
    return packed_cache.attend(layer_idx, query, scaling), None


AttentionInterface.register(ATTENTION_NAME, packed_attention)
