"""Stretches out of several arrays, and long documents that come straight out of the maps."""

import numpy as np
import pytest
from document_shards import write_documents
from hypothesis import given
from hypothesis import strategies as st

from dvse.dataset.block_rows import Stretches, gather, paged_in
from dvse.dataset.piece_reader import PieceReader
from dvse.dataset.token_dataset import TokenDataset


@given(
    sizes=st.lists(st.integers(1, 600), min_size=1, max_size=4),
    cuts=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1), st.floats(0, 1)), max_size=12),
    is_narrow=st.booleans(),
)
def test_what_is_gathered_is_what_slices_say(sizes, cuts, is_narrow):
    rng = np.random.default_rng(len(cuts))
    dtypes = ["uint16", "uint16" if is_narrow else "uint32"]
    arrays = [rng.integers(0, 60_000, n).astype(dtypes[i % 2]) for i, n in enumerate(sizes)]
    stretches, wanted = [], []
    for which, one, other in cuts:
        array = which % len(arrays)
        begin, end = sorted(int(share * len(arrays[array])) for share in (one, other))
        stretches.append((array, begin, end - begin))
        wanted += arrays[array][begin:end].tolist()
    table = np.array(stretches, dtype=np.int64).reshape(-1, 3).T
    for dtype in ("int64", "uint32", "uint16"):
        for to in (slice(0, len(wanted)), np.arange(len(wanted))[::-1]):
            out = np.full(len(wanted) + 1, 7, dtype=dtype)
            gather(
                arrays,
                Stretches(array=table[0], begin=table[1], length=table[2]),
                out=out,
                to=to,
            )
            assert out[to].tolist() == wanted and out[-1] == 7


def test_a_map_is_read_as_it_is(tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(5000, dtype=np.uint16))
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    plain = paged_in(mapped)
    assert type(plain) is np.ndarray and np.shares_memory(plain, mapped)
    assert len(paged_in(mapped[:0])) == 0


def shards(folder, lengths, *, has_mask=False):
    """Six shards of random documents; their dtypes take turns."""
    rng = np.random.default_rng(1)
    made = [
        [rng.integers(1, 60_000, int(rng.integers(*lengths))) for _ in range(20)] for _ in range(6)
    ]
    masks = [
        [rng.random(len(ids)) < 0.5 if has_mask and number == 3 else None for ids in rows]
        for number, rows in enumerate(made)
    ]
    return write_documents(folder, made, dtype=["uint16", "uint32"] * 3, masks=masks)


@pytest.mark.parametrize(
    ("lengths", "has_mask", "is_in_place"),
    [((600, 900), False, True), ((600, 900), True, False), ((5, 30), False, False)],
)
@pytest.mark.parametrize("num_ranks", [1, 2, 40])
def test_long_documents_are_not_put_together_first(
    tmp_path, monkeypatch, lengths, has_mask, is_in_place, num_ranks
):
    folder = shards(tmp_path / "s", lengths, has_mask=has_mask)
    held = []
    read = PieceReader._read
    monkeypatch.setattr(
        PieceReader, "_read", lambda self, n: held.append(made := read(self, n)) or made
    )

    def batches(**options):
        dataset = TokenDataset(
            folder, batch_size=2, length=512, seed=5, num_ranks=num_ranks, **options
        )
        return [
            (b.input_ids.tolist(), b.document_ids.tolist(), b.loss_mask.tolist()) for b in dataset
        ]

    decoded = batches(use_cache=False)
    assert all(len(h.rows.ids) == 1 for h in held)
    batches()  # makes the maps
    held.clear()
    assert batches() == decoded and decoded
    # One rank of forty needs few rows of a shard, which are picked.
    assert all((len(h.rows.ids) == 6) == (is_in_place and num_ranks < 40) for h in held)
