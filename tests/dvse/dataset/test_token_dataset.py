"""Packed reading against slow loops: each document once, boundaries, masks, shares, resuming."""

import itertools
import json
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from document_shards import write_documents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset

from dvse.dataset.packing import ContinuousPacking, WholePacking
from dvse.dataset.piece_reader import PieceReader
from dvse.dataset.token_dataset import TokenDataset
from dvse.errors import ConfigError, ShardError
from dvse.storage.shard import shard_name


def random_shards(num_shards, rows, *, seed=0, longest=50):
    """Every document begins with its own number, so it can be told in a batch."""
    rng = np.random.default_rng(seed)
    number = iter(range(1, 60000))
    return [
        [
            np.concatenate([[next(number)], rng.integers(40000, 60000, rng.integers(0, longest))])
            for _ in range(rows)
        ]
        for _ in range(num_shards)
    ]


def documents(batches):
    """The pieces of all windows as lists, in order."""
    found = []
    for batch in batches:
        for ids, docs in zip(batch.input_ids.tolist(), batch.document_ids.tolist(), strict=True):
            for number in range(max(docs) + 1):
                found.append([i for i, d in zip(ids, docs, strict=True) if d == number])
    return found


def test_input_order_end_to_end_is_the_stream_cut_every_t_ids(tmp_path):
    shards = random_shards(3, 20)
    dataset = TokenDataset(
        write_documents(tmp_path / "s", shards), batch_size=2, length=16, shuffle=False, pad_id=7
    )
    stream = np.concatenate([np.concatenate(rows) for rows in shards])
    ids = torch.cat([b.input_ids.flatten() for b in dataset]).numpy()
    assert np.array_equal(ids[: len(stream)], stream)
    assert (ids[len(stream) :] == 7).all()
    assert len(ids) == len(dataset) * 32


def test_boundaries_positions_and_masks_by_hand(tmp_path):
    folder = write_documents(
        tmp_path / "s",
        [[[10, 11, 12], [20, 21, 22, 23, 24]]],
        masks=[[None, [False, False, True, True, False]]],
    )
    (batch,) = TokenDataset(folder, batch_size=2, length=5, shuffle=False)
    assert batch.input_ids.tolist() == [[10, 11, 12, 20, 21], [22, 23, 24, 0, 0]]
    assert batch.document_ids.tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, -1, -1]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 0, 0]]
    assert batch.loss_mask.int().tolist() == [[0, 1, 1, 0, 0], [0, 1, 0, 0, 0]]
    assert batch.labels.tolist() == [[-100, 11, 12, -100, -100], [-100, 23, -100, -100, -100]]
    assert batch.cumulative_lengths().tolist() == [0, 3, 5, 8, 10]
    assert batch.is_padding.tolist() == [False, False, False, True]


@pytest.mark.parametrize("with_masks", [False, True])
def test_long_documents_come_out_as_they_went_in(tmp_path, with_masks):
    shards = random_shards(2, 30, longest=900)
    rng = np.random.default_rng(1)
    masks = [[rng.random(len(ids)) < 0.5 for ids in rows] for rows in shards]
    write_documents(tmp_path, shards, masks=masks if with_masks else None)
    dataset = TokenDataset(tmp_path, batch_size=2, length=256, seed=3)
    by_first = {int(ids[0]): (ids, mask) for s, m in zip(shards, masks, strict=True)
                for ids, mask in zip(s, m, strict=True)}  # fmt: skip
    ids = np.concatenate([batch.input_ids.numpy().reshape(-1) for batch in dataset])
    if with_masks:
        mask = np.concatenate([b.row_mask.numpy().reshape(-1) for b in TokenDataset(
            tmp_path, batch_size=2, length=256, seed=3)])  # fmt: skip
    at = 0
    for _ in range(60):
        expected, row_mask = by_first.pop(int(ids[at]))
        assert np.array_equal(ids[at : at + len(expected)], expected)
        if with_masks:
            assert np.array_equal(mask[at : at + len(expected)], row_mask)
        at += len(expected)
    assert not by_first and not ids[at:].any()


def test_attention_never_crosses_a_document(tmp_path):
    folder = write_documents(tmp_path / "s", random_shards(1, 30, longest=9))
    (batch, *_) = TokenDataset(folder, batch_size=3, length=24)
    mask = batch.attention_mask()
    assert mask.shape == (3, 1, 24, 24)
    docs = batch.document_ids
    for b in range(3):
        for q in range(24):
            for k in range(24):
                may = docs[b, q] == docs[b, k] != -1 and k <= q
                assert mask[b, 0, q, k] == (may or q == k)


@pytest.mark.parametrize("keep_whole", [False, True])
@pytest.mark.parametrize("num_shards", [1, 3, 40])
@pytest.mark.parametrize(("num_ranks", "workers"), [(1, 0), (2, 0), (3, 2)])
def test_every_document_once_over_all_ranks_and_workers(
    tmp_path, keep_whole, num_shards, num_ranks, workers
):
    folder = write_documents(tmp_path / "s", random_shards(num_shards, 7, longest=14))
    seen, steps = [], set()
    for rank in range(num_ranks):
        dataset = TokenDataset(
            folder, batch_size=2, length=16, keep_whole=keep_whole, rank=rank, num_ranks=num_ranks
        )
        batches = list(DataLoader(dataset, batch_size=None, num_workers=workers))
        steps.add(len(batches))
        ids = [i for piece in documents(batches) for i in piece]
        seen += [i for i in ids if i < 40000]
    assert len(steps) == 1
    assert sorted(seen) == list(range(1, num_shards * 7 + 1))


def test_whole_documents_are_not_cut(tmp_path):
    shards = random_shards(2, 50, longest=15)
    dataset = TokenDataset(
        write_documents(tmp_path / "s", shards), length=16, batch_size=4, keep_whole=True
    )
    wanted = sorted([list(map(int, row)) for rows in shards for row in rows])
    assert sorted(documents(dataset)) == wanted


def test_shuffle_depends_on_seed_and_epoch_only(tmp_path):
    folder = write_documents(tmp_path / "s", random_shards(12, 10))

    def ids(**options):
        dataset = TokenDataset(folder, length=32, **options)
        return [torch.cat([b.input_ids for b in dataset]).tolist() for _ in range(2)]

    first, second = ids(seed=1)
    assert ids(seed=1) == [first, second]
    assert first != second
    assert ids(seed=2)[0] != first


@pytest.mark.parametrize("workers", [0, 2])
def test_going_on_in_the_middle_gives_the_rest(tmp_path, workers):
    folder = write_documents(tmp_path / "s", random_shards(9, 30))

    def loader(dataset):
        return DataLoader(dataset, batch_size=None, num_workers=workers)

    def fresh():
        return TokenDataset(folder, batch_size=2, length=16, rank=1, num_ranks=2, seed=5)

    dataset = fresh()
    dataset.set_epoch(3)
    whole = [b.input_ids for b in loader(dataset)]
    for used in (0, 4, 7) if workers == 0 else (3,):
        dataset = fresh()
        dataset.set_epoch(3)
        state = dataset.state_dict(used)
        later = fresh()
        later.load_state_dict(state)
        rest = [b.input_ids for b in loader(later)]
        assert len(rest) == len(whole) - used
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[used:], strict=True))


def test_the_object_itself_knows_how_far_it_is(tmp_path):
    folder = write_documents(tmp_path / "s", random_shards(3, 30))
    dataset = TokenDataset(folder, batch_size=1, length=16)
    batches = iter(dataset)
    next(batches), next(batches)
    assert dataset.state_dict()["num_windows"] == 2
    state = dataset.state_dict()
    other = TokenDataset(folder, batch_size=1, length=16)
    other.load_state_dict(state)
    assert torch.equal(next(iter(other)).input_ids, next(batches).input_ids)


def test_a_state_of_other_settings_is_refused(tmp_path):
    folder = write_documents(tmp_path / "s", random_shards(3, 3))
    state = TokenDataset(folder, length=16).state_dict()
    with pytest.raises(ConfigError, match="length: 16 then, 32 now"):
        TokenDataset(folder, length=32).load_state_dict(state)
    write_documents(tmp_path / "s", random_shards(3, 3, seed=1))
    with pytest.raises(ConfigError, match="shards_sha256"):
        TokenDataset(folder, length=16).load_state_dict(state)


def test_a_state_of_the_order_before_this_one_is_refused_in_one_sentence(tmp_path):
    folder = write_documents(tmp_path / "s", random_shards(1, 3))
    with pytest.raises(ConfigError, match="another version of DVSE"):
        TokenDataset(folder).load_state_dict({"epoch": 0, "num_batches": 3, "settings": {}})


def test_a_state_is_small_json_whatever_the_number_of_shards(tmp_path):
    sizes = []
    for number in (1, 60):
        dataset = TokenDataset(write_documents(tmp_path / f"s{number}", random_shards(number, 2)))
        sizes.append(len(json.dumps(dataset.state_dict(3))))
    assert max(sizes) < 400
    assert sizes[1] - sizes[0] < 10


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_length_is_what_a_data_loader_gives(tmp_path, drop_last, workers):
    folder = write_documents(tmp_path / "s", random_shards(3, 20))
    for rank in range(2):
        dataset = TokenDataset(
            folder, batch_size=3, length=16, rank=rank, num_ranks=2, drop_last=drop_last
        )
        dataset.load_state_dict(dataset.state_dict(1))
        loader = DataLoader(dataset, batch_size=None, num_workers=workers)
        assert len(loader) == len(dataset) == sum(1 for _ in loader)


def test_a_data_loader_that_would_batch_again_is_refused_in_one_sentence(tmp_path):
    dataset = TokenDataset(write_documents(tmp_path / "s", random_shards(1, 9)), length=16)
    for loader in (DataLoader(dataset), DataLoader(dataset, batch_size=4, num_workers=1)):
        with pytest.raises(ConfigError, match=r"expected DataLoader\(dataset, batch_size=None"):
            next(iter(loader))


def in_worker(monkeypatch, dataset, worker, workers):
    """The batches of a DataLoader's worker, without the process."""
    info = None if not workers else SimpleNamespace(id=worker, num_workers=workers)
    batches = iter(pickle.loads(pickle.dumps(dataset)))
    while True:
        with monkeypatch.context() as patched:
            patched.setattr("dvse.dataset.token_dataset.get_worker_info", lambda: info)
            try:
                batch = next(batches)
            except StopIteration:
                return
        yield batch


def in_turns(monkeypatch, dataset, workers):
    """What a DataLoader does: ask its workers in turn until all are through."""
    sources = [in_worker(monkeypatch, dataset, w, workers) for w in range(max(workers, 1))]
    for batches in itertools.zip_longest(*sources):
        yield from (batch for batch in batches if batch is not None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders with some numbers of shards of five rows."""
    top = tmp_path_factory.mktemp("shards")
    return {
        n: write_documents(top / str(n), random_shards(n, 5, longest=14)) for n in (1, 3, 9, 20)
    }


@given(
    num_shards=st.sampled_from([1, 3, 9, 20]),
    keep_whole=st.booleans(),
    shuffle=st.booleans(),
    runs=st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(0, 6)),
        min_size=1,
        max_size=4,
    ),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_ranks_and_workers_go_on_exactly(
    folders, monkeypatch, num_shards, keep_whole, shuffle, runs
):
    """Runs of (ranks, workers, batch size, steps), each going on from the state of the last."""
    folder = folders[num_shards]
    options = {"length": 8, "keep_whole": keep_whole, "shuffle": shuffle, "seed": num_shards}
    whole = TokenDataset(folder, batch_size=1, **options)
    wanted = [batch.input_ids[0].tolist() for batch in whole]
    state, merged = whole.state_dict(), []
    state = {**state, "epoch": 0, "num_windows": 0}
    for num_ranks, workers, size, steps in [*runs, (1, 0, 1, None)]:
        per_rank = []
        for rank in range(num_ranks):
            dataset = TokenDataset(
                folder, batch_size=size, rank=rank, num_ranks=num_ranks, **options
            )
            dataset.load_state_dict(state)
            batches = list(itertools.islice(in_turns(monkeypatch, dataset, workers), steps))
            per_rank.append(batches)
            later = dataset.state_dict(len(batches))
        state = json.loads(json.dumps(later))
        for step in zip(*per_rank, strict=True):
            merged += [row.tolist() for batch in step for row in batch.input_ids]
    # At the end of the epoch a step is filled up with windows of padding alone.
    padding = [0] * 8
    assert [window for window in merged if window != padding] == wanted
    seen = sorted(i for window in merged for i in window if 0 < i < 40000)
    assert seen == list(range(1, 5 * num_shards + 1))


def test_two_workers_then_one_with_real_processes(tmp_path):
    """As it was found: 8,699 ids twice and 8,699 never, of 680,000."""
    folder = write_documents(tmp_path / "s", random_shards(40, 17, longest=80))

    def loader(dataset, workers):
        return DataLoader(dataset, batch_size=None, num_workers=workers)

    first = TokenDataset(folder, batch_size=2, length=64, seed=3)
    begun = iter(loader(first, 2))
    used = [next(begun) for _ in range(7)]
    second = TokenDataset(folder, batch_size=2, length=64, seed=3)
    second.load_state_dict(first.state_dict(len(used)))
    ids = torch.cat([b.input_ids.flatten() for b in [*used, *loader(second, 1)]]).tolist()
    assert sorted(i for i in ids if 0 < i < 40000) == list(range(1, 40 * 17 + 1))
    third = TokenDataset(folder, batch_size=2, length=64, seed=3)
    assert ids == torch.cat([b.input_ids.flatten() for b in third]).tolist()


def test_without_end_the_order_is_that_of_one_process(tmp_path):
    folder = write_documents(tmp_path / "s", random_shards(3, 9))
    options = {"batch_size": 2, "length": 16, "seed": 2}
    num_steps = len(TokenDataset(folder, **options))
    assert num_steps % 2
    alone = itertools.islice(TokenDataset(folder, **options).endless(), 3 * num_steps)
    wanted = [batch.input_ids.tolist() for batch in alone]
    loader = DataLoader(Endless(TokenDataset(folder, **options)), batch_size=None, num_workers=2)
    found = itertools.islice(loader, 3 * num_steps)
    assert [batch.input_ids.tolist() for batch in found] == wanted
    later = TokenDataset(folder, **options)
    later.seek(2 * num_steps + 1)
    assert next(iter(later)).input_ids.tolist() == wanted[2 * num_steps + 1]


class Endless(IterableDataset):
    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        return self.dataset.endless()


def test_a_small_share_keeps_only_the_rows_that_it_needs(tmp_path, monkeypatch):
    folder = write_documents(tmp_path / "s", random_shards(8, 40, longest=30))
    held = []
    read = PieceReader._read
    monkeypatch.setattr(
        PieceReader, "_read", lambda self, n: held.append(made := read(self, n)) or made
    )
    dataset = TokenDataset(folder, batch_size=1, length=16, rank=1, num_ranks=64)
    list(dataset)
    assert sum(len(ids) for h in held for ids in h.rows.ids) < 0.2 * dataset.num_ids


def test_one_process_makes_the_flat_copy_and_the_others_wait(tmp_path):
    """Two writers of one temporary file would cut short what a third has mapped."""
    folder = write_documents(tmp_path / "s", random_shards(4, 200))
    dataset = TokenDataset(folder, batch_size=2, length=32)
    plain = TokenDataset(folder, use_cache=False)
    wanted = sorted(i for b in plain for i in b.input_ids.flatten().tolist())
    for _ in range(2):
        shutil.rmtree(folder / ".flat", ignore_errors=True)
        loader = DataLoader(dataset, batch_size=None, num_workers=2)
        found = sorted(i for b in loader for i in b.input_ids.flatten().tolist())
        assert [i for i in found if i] == [i for i in wanted if i]
    assert len(list((folder / ".flat").iterdir())) == 4


def test_only_chosen_modalities(tmp_path):
    write_documents(tmp_path / "s", [[[1, 2]]], modality="text")
    dataset = TokenDataset(tmp_path / "s", length=4, modalities=["image"])
    assert (dataset.num_documents, len(dataset)) == (0, 0)
    assert TokenDataset(tmp_path / "s", length=4, modalities=["text"]).num_documents == 1


def test_ids_above_65535_do_not_wrap_around(tmp_path):
    folder = write_documents(tmp_path / "s", [[[70000, 5]]], dtype="uint32")
    (batch,) = TokenDataset(folder, batch_size=1, length=2)
    assert batch.input_ids.tolist() == [[70000, 5]]


def test_shards_of_different_vocabularies_are_refused(tmp_path):
    write_documents(tmp_path / "a", [[[1]]])
    write_documents(tmp_path / "b", [[[1]]], vocabulary="w")
    with pytest.raises(ShardError, match="different vocabularies"):
        TokenDataset([tmp_path / "a" / shard_name(0), tmp_path / "b" / shard_name(0)])


@pytest.mark.parametrize("masks", [None, [[None, [True, False, False]]]])
def test_the_flat_copy_is_never_taken_for_another_shard(tmp_path, masks):
    folder = write_documents(tmp_path / "s", [[[1, 2], [3, 4, 5]]], masks=masks)

    def ids(**options):
        (batch,) = TokenDataset(folder, batch_size=1, length=8, shuffle=False, **options)
        return batch.input_ids.tolist()[0][:5], batch.loss_mask.sum().item()

    first = ids(use_cache=False)
    assert not (folder / ".flat").exists()
    assert ids() == first
    assert ids() == first
    assert len(list((folder / ".flat").glob("*.ids.npy"))) == 1
    write_documents(folder, [[[9, 8], [7, 6, 5]]], masks=masks)
    assert ids() == ids(use_cache=False)
    assert ids()[0] == [9, 8, 7, 6, 5]


def test_nothing_there_and_wrong_numbers_are_refused(tmp_path):
    with pytest.raises(ShardError, match="found none"):
        TokenDataset(tmp_path)
    write_documents(tmp_path / "s", [[[1]]])
    for options in ({"rank": 2, "num_ranks": 2}, {"batch_size": 0}, {"length": 1}):
        with pytest.raises(ConfigError):
            TokenDataset(tmp_path / "s", **options)


def slow_continuous(lengths, width):
    """One id at a time."""
    windows, left = [[]], width
    for document, length in enumerate(lengths):
        start = 0
        while start < length:
            if not left:
                windows.append([])
                left = width
            take = min(left, length - start)
            windows[-1].append((document, start, take))
            start, left = start + take, left - take
    return [w for w in windows if w]


def slow_whole(lengths, width):
    windows, left = [], 0
    for document, length in enumerate(lengths):
        for start in range(0, length, width):
            take = min(width, length - start)
            if take > left:
                windows.append([])
                left = width
            windows[-1].append((document, start, take))
            left -= take
    return windows


@pytest.mark.parametrize(
    ("packing", "slow"), [(ContinuousPacking, slow_continuous), (WholePacking, slow_whole)]
)
def test_layouts_against_slow_loops(packing, slow):
    rng = np.random.default_rng(3)
    for _ in range(60):
        lengths = rng.integers(1, 20, rng.integers(0, 12)).astype(np.int64)
        pieces = packing(5).lay_out(lengths, begin=0)
        assert (np.diff(pieces.position) > 0).all()
        found = [[] for _ in range(pieces.position[-1] // 5 + 1)] if len(lengths) else []
        for document, start, length, position in zip(
            pieces.document.tolist(),
            pieces.start.tolist(),
            pieces.length.tolist(),
            pieces.position.tolist(),
            strict=True,
        ):
            assert position % 5 == sum(n for _, _, n in found[position // 5])
            found[position // 5].append((document, start, length))
        assert found == slow(lengths.tolist(), 5)
