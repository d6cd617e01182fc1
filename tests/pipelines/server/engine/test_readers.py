"""What each row reads, against attention in double precision; and bits, alone or not."""

import pytest
import torch

from pipelines.server.engine.readers import find_widest, readers_of
from pipelines.server.engine.step_plan import Run

_HEADS, _KV_HEADS, _HEAD_DIM = 6, 2, 16
_SCALING = 0.3

# Short and long single rows (one past the width that is gathered), first and later prompt parts.
_RUNS = [
    Run(rows=1, start=3, stop=1),
    Run(rows=1, start=10, stop=64),
    Run(rows=1, start=100, stop=65),
    Run(rows=1, start=200, stop=130),
    Run(rows=1, start=400, stop=70),
    Run(rows=1, start=500, stop=700),
    Run(rows=5, start=1300, stop=5),
    Run(rows=9, start=1400, stop=40),
    Run(rows=1, start=1990, stop=10),  # the cache ends before its rounded width does
]


@pytest.fixture(scope="module")
def store() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 2000, 2, _KV_HEADS, _HEAD_DIM, generator=generator)


@pytest.fixture(scope="module")
def query() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(sum(r.rows for r in _RUNS), _HEADS, _HEAD_DIM, generator=generator)


def _read(
    store: torch.Tensor, runs: list[Run], query: torch.Tensor, layer: int, *, widest: int = 512
) -> torch.Tensor:
    output = torch.full_like(query, torch.nan)
    with torch.inference_mode():
        for reader in readers_of(store, runs, widest):
            reader.read(layer, query, output, _SCALING)
    return output


def _written_out(store: torch.Tensor, query: torch.Tensor, layer: int) -> torch.Tensor:
    rows, first = [], 0
    for run in _RUNS:
        for row in range(run.rows):
            seen = run.stop - run.rows + row + 1
            keys, values = store[layer, run.start : run.start + seen].double().unbind(1)
            for head in range(_HEADS):
                group = head // (_HEADS // _KV_HEADS)
                scores = keys[:, group] @ query[first + row, head].double() * _SCALING
                rows.append(scores.softmax(0) @ values[:, group])
        first += run.rows
    return torch.stack(rows).view(first, _HEADS, _HEAD_DIM).float()


@pytest.mark.parametrize("widest", [512, 0])
@pytest.mark.parametrize("layer", [0, 1])
def test_rows_read_their_own_answer_up_to_themselves(store, query, layer, widest):
    found = _read(store, _RUNS, query, layer, widest=widest)

    torch.testing.assert_close(found, _written_out(store, query, layer), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(6, 2, 16), (8, 2, 32), (4, 4, 64)])
def test_bits_do_not_depend_on_who_else_reads(heads, kv_heads, head_dim):
    generator = torch.Generator().manual_seed(2)
    store = torch.randn(1, 2000, 2, kv_heads, head_dim, generator=generator)
    query = torch.randn(sum(r.rows for r in _RUNS), heads, head_dim, generator=generator)
    widest = find_widest(store, heads)
    together = _read(store, _RUNS, query, 0, widest=widest)

    first = 0
    for run in _RUNS:
        rows = slice(first, first + run.rows)
        alone = _read(store, [run], query[rows], 0, widest=widest)
        assert torch.equal(alone, together[rows]), (run, widest)
        first += run.rows


def test_what_lies_behind_an_answer_does_not_matter(store, query):
    spoilt = store.clone()
    used = torch.zeros(store.shape[1], dtype=torch.bool)
    for run in _RUNS:
        used[run.start : run.start + run.stop] = True
    spoilt[:, ~used] = 1e4

    assert torch.equal(_read(spoilt, _RUNS, query, 1), _read(store, _RUNS, query, 1))
