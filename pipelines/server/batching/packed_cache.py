"""Keys and values of all answers in one array, and attention that reads each answer's own part.

Rows of a step lie side by side, `[1, N]`, whoever they belong to, so that every product runs once
for all. Attention alone runs answer by answer: its shapes then depend on that answer and on
nothing else in the batch, and so do its last bits. It takes the place of the model's own attention
function; the rest of the model is used as it is.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from pipelines.server.batching.step_plan import Copy, Run, Watch

ATTENTION_NAME = "dvse_packed"


class PackedCache:
    """Takes the place of a transformers cache for steps over many answers.

    Attributes:
        keys, values: `[layers, 1, kv_heads, num_tokens, head_dim]`.
    """

    layers: tuple[()] = ()
    is_compileable = False

    def __init__(
        self,
        *,
        num_layers: int,
        kv_heads: int,
        head_dim: int,
        num_tokens: int,
        dtype: torch.dtype,
        device: str | torch.device,
    ) -> None:
        shape = (num_layers, 1, kv_heads, num_tokens, head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self._keys, self._values = self.keys.unbind(0), self.values.unbind(0)
        self._places = torch.zeros(0, dtype=torch.long, device=device)
        self._readers: list[_Reader] = []
        self._watch: Watch | None = None
        self._seen: list[torch.Tensor] = []

    def watch(self, watch: Watch) -> None:
        """Note the attention of the next step, whose rows are one run."""
        self._watch = watch

    def watched(self) -> torch.Tensor:
        """Return what was noted, fp32 `[rows, seen]`, and note nothing more."""
        seen, self._seen, self._watch = self._seen, [], None
        return torch.stack(seen).mean(0)

    def copy(self, copies: Sequence[Copy]) -> None:
        """Copy keys and values from place to place."""
        for copy in copies:
            for array in (self.keys, self.values):
                part = array.narrow(3, copy.source, copy.length)
                array.narrow(3, copy.target, copy.length).copy_(part)

    def open_step(self, places: torch.Tensor, runs: Sequence[Run]) -> None:
        """Say where the next step's rows `[N]` are written and what each run reads."""
        self._places = places
        self._readers = [_Reader(self.keys, self.values, run) for run in runs]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Always 0: positions come with the step."""
        return 0

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write `[1, kv_heads, N, head_dim]`; attention reads from the cache itself."""
        self._keys[layer_idx].index_copy_(2, self._places, key)
        self._values[layer_idx].index_copy_(2, self._places, value)
        return key, value

    def attend(self, layer_idx: int, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Map queries `[1, heads, N, head_dim]` to `[1, N, heads, head_dim]`."""
        _, heads, num_rows, head_dim = query.shape
        kv_heads = self.keys.shape[2]
        # One row: the query heads of a group are rows of their key/value head.
        rows = query[0].transpose(0, 1).reshape(num_rows, 1, kv_heads, heads // kv_heads, head_dim)
        singles = rows.unbind(0)
        outputs, row = [], 0
        for reader in self._readers:
            if reader.rows == 1:
                found = reader.read_one(layer_idx, singles[row], scaling)
            else:
                found = reader.read(layer_idx, query[:, :, row : row + reader.rows], scaling)
            outputs.append(found.view(reader.rows, heads, head_dim))
            row += reader.rows
        if self._watch is not None and layer_idx >= len(self._keys) // 2:
            found = query[0, :, self._watch.first_row : row]
            self._seen.append(self._readers[0].weights(layer_idx, found, scaling, self._watch.seen))
        if row < num_rows:
            outputs.append(query.new_zeros(num_rows - row, heads, head_dim))
        return torch.cat(outputs).unsqueeze(0)


class _Reader:
    """One run's view of the cache, cut once a step for all layers."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, run: Run) -> None:
        self.rows = run.rows
        self._keys = keys.narrow(3, run.start, run.stop).unbind(0)
        self._values = values.narrow(3, run.start, run.stop).unbind(0)
        self._mask = None
        if 1 < run.rows < run.stop:
            full = torch.ones(run.rows, run.stop, dtype=torch.bool, device=keys.device)
            self._mask = full.tril(run.stop - run.rows)

    def read_one(self, layer_idx: int, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Map `[1, kv_heads, group, head_dim]` to the same shape."""
        return F.scaled_dot_product_attention(
            query, self._keys[layer_idx], self._values[layer_idx], scale=scaling
        )

    def read(self, layer_idx: int, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Map `[1, heads, rows, head_dim]` to `[rows, heads, head_dim]`, causally."""
        found = F.scaled_dot_product_attention(
            query,
            self._keys[layer_idx],
            self._values[layer_idx],
            attn_mask=self._mask,
            is_causal=self._mask is None,
            scale=scaling,
            enable_gqa=True,
        )
        return found[0].transpose(0, 1).contiguous()

    def weights(
        self, layer_idx: int, query: torch.Tensor, scaling: float, seen: tuple[int, int]
    ) -> torch.Tensor:
        """Map the last queries `[heads, rows, head_dim]` to their mean weights `[rows, seen]`."""
        heads, num_rows, _ = query.shape
        keys = self._keys[layer_idx][0]
        keys = keys.repeat_interleave(heads // len(keys), dim=0)
        scores = (query @ keys.transpose(1, 2)).float() * scaling
        num_keys = scores.shape[-1]
        is_past = torch.ones(num_rows, num_keys, dtype=torch.bool, device=query.device)
        scores = scores.masked_fill(~is_past.tril(num_keys - num_rows), -torch.inf)
        return scores.softmax(-1)[..., seen[0] : seen[1]].mean(0)


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
