"""How the rows of a step read the cache: each answer its own part, and the same bits in any batch.

Rows of long answers and parts of prompts, which keep the cores busy by themselves, are read one
answer at a time: nothing about the others is in the call. Single rows of short answers are read
together, all whose length rounds up to the same width. The kernel works on each of them apart, but
the place of a row in memory can decide its last bit; so it is tried at the start, on this machine,
whether a row comes out the same in any company, and where it does not, rows are read one by one.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from pipelines.server.engine.step_plan import Run

# Gathering costs a copy, a call of its own costs the call: about even at this many tokens.
_WIDTH_STEP, _WIDEST = 64, 512
# Numbers of rows that are tried together.
_COMPANIES = (2, 3, 7, 32)


class Reader(ABC):
    """Attends for some rows of a step."""

    @abstractmethod
    def read(
        self, layer_idx: int, query: torch.Tensor, output: torch.Tensor, scaling: float
    ) -> None:
        """Fill these rows of `output` from those of `query`, both `[N, heads, head_dim]`."""


def readers_of(store: torch.Tensor, runs: Sequence[Run], widest: int) -> list[Reader]:
    """Return what reads all rows of a step.

    Args:
        store: `[layers, tokens, 2, kv_heads, head_dim]`, keys before values.
        runs: whose the rows are, in order.
        widest: length up to which single rows are read together, see `find_widest`.
    """
    readers: list[Reader] = []
    short: defaultdict[int, list[tuple[int, Run]]] = defaultdict(list)
    row = 0
    for run in runs:
        if run.rows > 1:
            readers.append(_Several(store, row, run))
        elif run.stop > widest:
            readers.append(_One(store, row, run))
        else:
            short[-(-run.stop // _WIDTH_STEP)].append((row, run))
        row += run.rows
    return readers + [_Alike(store, _WIDTH_STEP * n, members) for n, members in short.items()]


@torch.inference_mode()
def find_widest(store: torch.Tensor, heads: int) -> int:
    """Return the length up to which rows may be read together; 0 where company changes bits.

    Args:
        store: as in `readers_of`; only its sizes matter.
        heads: query heads.
    """
    generator = torch.Generator().manual_seed(0)
    most = max(_COMPANIES)
    trial = torch.randn(1, 2 * most + _WIDEST, *store.shape[2:], generator=generator).to(store)
    query = torch.randn(most, heads, store.shape[-1], generator=generator).to(store)
    for stop in range(_WIDTH_STEP - 1, _WIDEST, _WIDTH_STEP):
        runs = [Run(rows=1, start=2 * row, stop=stop) for row in range(most)]
        alone = torch.cat([_read_all(trial, [r], query[i : i + 1]) for i, r in enumerate(runs)])
        for size in _COMPANIES:
            if not torch.equal(_read_all(trial, runs[-size:], query[-size:]), alone[-size:]):
                return 0
    return _WIDEST


def _read_all(store: torch.Tensor, runs: Sequence[Run], query: torch.Tensor) -> torch.Tensor:
    output = torch.empty_like(query)
    for reader in readers_of(store, runs, _WIDEST):
        reader.read(0, query, output, query.shape[-1] ** -0.5)
    return output


class _Alike(Reader):
    """One row each of answers whose lengths round up to the same width."""

    def __init__(self, store: torch.Tensor, width: int, members: list[tuple[int, Run]]) -> None:
        numbers = [[row, run.start, run.stop] for row, run in members]
        self._rows, starts, stops = torch.tensor(numbers, device=store.device).unbind(1)
        offsets = torch.arange(width, device=store.device)
        # Past the end of the answer, somebody else's tokens may lie, or nothing.
        places = (starts[:, None] + offsets).clamp_(max=store.shape[1] - 1)
        self._places = places.flatten()
        is_past = offsets >= stops[:, None]
        mask = torch.zeros(is_past.shape, dtype=store.dtype, device=store.device)
        self._mask = mask.masked_fill_(is_past, -torch.inf)[:, None, None]
        self._layers = store.unbind(0)

    def read(
        self, layer_idx: int, query: torch.Tensor, output: torch.Tensor, scaling: float
    ) -> None:
        layer = self._layers[layer_idx]
        _, _, kv_heads, head_dim = layer.shape
        shape = (len(self._rows), -1, 2, kv_heads, head_dim)
        keys, values = layer.index_select(0, self._places).view(shape).transpose(1, 3).unbind(2)
        # The query heads of a group are rows of their key/value head.
        rows = query.index_select(0, self._rows)
        found = F.scaled_dot_product_attention(
            rows.unflatten(1, (kv_heads, -1)), keys, values, attn_mask=self._mask, scale=scaling
        )
        output.index_copy_(0, self._rows, found.flatten(1, 2))


class _One(Reader):
    """One row of a long answer."""

    def __init__(self, store: torch.Tensor, row: int, run: Run) -> None:
        self._row = row
        self._parts = _parts(store, run)

    def read(
        self, layer_idx: int, query: torch.Tensor, output: torch.Tensor, scaling: float
    ) -> None:
        keys, values = self._parts[layer_idx]
        rows = query[self._row].unflatten(0, (keys.shape[1], -1))[None]
        found = F.scaled_dot_product_attention(rows, keys, values, scale=scaling)
        output[self._row] = found[0].flatten(0, 1)


class _Several(Reader):
    """Neighbouring rows of one answer: part of its prompt."""

    def __init__(self, store: torch.Tensor, row: int, run: Run) -> None:
        self._rows = slice(row, row + run.rows)
        self._parts = _parts(store, run)
        self._mask = None
        if run.rows < run.stop:
            full = torch.ones(run.rows, run.stop, dtype=torch.bool, device=store.device)
            self._mask = full.tril(run.stop - run.rows)

    def read(
        self, layer_idx: int, query: torch.Tensor, output: torch.Tensor, scaling: float
    ) -> None:
        keys, values = self._parts[layer_idx]
        found = F.scaled_dot_product_attention(
            query[self._rows].transpose(0, 1)[None],
            keys,
            values,
            attn_mask=self._mask,
            is_causal=self._mask is None,
            scale=scaling,
            enable_gqa=True,
        )
        output[self._rows] = found[0].transpose(0, 1)


def _parts(store: torch.Tensor, run: Run) -> list[tuple[torch.Tensor, ...]]:
    """Keys and values `[1, kv_heads, stop, head_dim]` of one answer, layer by layer, in place."""
    part = store.narrow(1, run.start, run.stop).transpose(1, 3).unsqueeze(1)
    return [layer.unbind(2) for layer in part.unbind(0)]
