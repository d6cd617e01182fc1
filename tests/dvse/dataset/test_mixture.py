"""Mixtures: shares met exactly, every document as often as its epochs say, elastic, resumable."""

import collections
import json

import numpy as np
import pytest
from torch.utils.data import DataLoader

from dvse import Mixture, MixturePart, TokenDataset
from dvse.dataset.schedule import Schedule
from dvse.encoding import Encoding, Span
from dvse.errors import ConfigError, ShardError
from dvse.storage.shard import ShardMetadata, encoding_row, shard_name, shard_schema, write_shard

LENGTH = 16


def write(folder, documents, *, modality="text", bundle="f", masks=None, rows=10):
    """Documents of ids, `rows` a shard."""
    folder.mkdir()
    metadata = ShardMetadata(
        bundle="b",
        bundle_fingerprint=bundle,
        vocabulary_fingerprint="v",
        vocabulary_size=60_000,
        profile={},
    ).to_schema_metadata()
    made = []
    for number, ids in enumerate(documents):
        encoding = Encoding(
            ids=np.asarray(ids),
            modality_ids=np.zeros(len(ids), np.int8),
            spans=(Span(modality=modality, start=0, stop=len(ids)),),
        )
        mask = None if masks is None else masks[number]
        made.append(encoding_row(encoding, id=f"{number}", id_dtype="uint16", loss_mask=mask))
    for number in range(0, len(made), rows):
        write_shard(
            folder / shard_name(number // rows),
            made[number : number + rows],
            schema=shard_schema("uint16"),
            metadata=metadata,
        )
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Set a: ids from 1000, long documents; b: from 20000, short; c: from 40000, tiny."""
    folder = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    sizes = {"a": (60, 90, 1000), "b": (100, 9, 20_000), "c": (3, 20, 40_000)}
    found = {}
    for name, (count, mean, first) in sizes.items():
        lengths = rng.integers(1, 2 * mean, count)
        ends = np.cumsum(lengths)
        found[name] = write(
            folder / name,
            [first + np.arange(e - n, e) for e, n in zip(ends, lengths, strict=True)],
        )
    return found


def windows(mixture):
    return np.concatenate([batch.input_ids.numpy() for batch in mixture])


def origin(rows):
    """0, 1 or 2 for each window; a window comes from one set."""
    kinds = np.digitize(rows, [20_000, 40_000])
    assert (kinds == kinds[:, :1]).all()
    return kinds[:, 0]


@pytest.mark.parametrize("weights", [[7, 3], [1], [1, 1, 1], [0.5, 0.3, 0.15, 0.05], [1, 99_999]])
def test_a_schedule_is_never_off_by_as_many_windows_as_there_are_parts(weights):
    schedule = Schedule(weights)
    part, number = schedule.places(np.arange(5000))
    shares = np.array(weights) / sum(weights)
    seen = [0] * len(weights)
    for window, (p, n) in enumerate(zip(part.tolist(), number.tolist(), strict=True)):
        assert n == seen[p]  # the next one of its part: none is left out, none twice
        seen[p] += 1
        if window % 97 == 0:
            assert seen == schedule.counts(window + 1)
        assert np.abs(np.array(seen) - shares * (window + 1)).max() < len(weights)
    for p in range(len(weights)):
        mine = np.flatnonzero(part == p)
        assert schedule.window(p, np.arange(len(mine))).tolist() == mine.tolist()


def test_a_schedule_far_out_is_the_same_formula():
    schedule = Schedule([0.123456, 0.5, 0.376544])
    far = 10**11 + np.arange(1000)
    part, number = schedule.places(far)
    for p in range(3):
        assert schedule.window(p, number[part == p]).tolist() == far[part == p].tolist()
    assert (
        np.abs(np.array(schedule.counts(10**11)) / 10**11 - [0.123456, 0.5, 0.376544]).max() < 1e-10
    )


def test_shares_of_tokens_are_met_whatever_the_lengths_of_documents(sets):
    """Documents of a are ten times as long as those of b: by tokens, that must not matter."""
    mixture = Mixture([(sets["a"], 0.7), (sets["b"], 0.3)], length=LENGTH, batch_size=4)
    kinds = origin(windows(mixture))
    for count in (10, 50, len(kinds)):
        assert abs((kinds[:count] == 0).sum() - 0.7 * count) <= 1
    by_samples = Mixture(
        [(sets["a"], 0.5), (sets["b"], 0.5)], by="samples", length=LENGTH, num_ids=30_000
    )
    a, b = by_samples.counts()
    # Equal documents: each set's documents times its epochs.
    assert a.num_documents * a.epochs == pytest.approx(b.num_documents * b.epochs, rel=0.01)
    assert a.num_ids_read > 5 * b.num_ids_read


def test_small_sets_begin_again_mixed_anew_without_padding(sets):
    mixture = Mixture([(sets["a"], 0.5), (sets["c"], 0.5)], length=LENGTH, batch_size=4)
    rows = windows(mixture)
    kinds = origin(rows)
    ids_of_c = rows[kinds == 2].reshape(-1)
    count = collections.Counter(ids_of_c.tolist())
    c = mixture.counts()[1]
    assert c.epochs > 3
    # After e whole epochs each id was there e times, and none more than once more.
    assert set(count.values()) <= {int(c.epochs), int(c.epochs) + 1, int(c.epochs) + 2}
    assert max(count.values()) - min(count.values()) <= 1
    assert (rows > 0).all()
    size = c.num_ids
    first, second = ids_of_c[:size].tolist(), ids_of_c[size : 2 * size].tolist()
    assert sorted(first) == sorted(second)


@pytest.mark.parametrize("keep_whole", [False, True])
@pytest.mark.parametrize(("num_ranks", "workers"), [(1, 0), (3, 0), (2, 2)])
def test_ranks_and_workers_cut_one_order(sets, num_ranks, workers, keep_whole):
    parts = [(sets["a"], 0.6), (sets["b"], 0.3), (sets["c"], 0.1)]
    arguments = {"length": LENGTH, "keep_whole": keep_whole, "num_ids": 4000}
    alone = windows(Mixture(parts, batch_size=1, **arguments))
    shares = []
    for rank in range(num_ranks):
        mixture = Mixture(parts, batch_size=2, rank=rank, num_ranks=num_ranks, **arguments)
        loader = DataLoader(mixture, batch_size=None, num_workers=workers)
        shares.append([batch.input_ids.numpy() for batch in loader])
    assert len({len(share) for share in shares}) == 1
    together = np.concatenate([b for step in zip(*shares, strict=True) for b in step])
    assert np.array_equal(together[: len(alone)], alone)


def test_a_state_goes_on_with_other_ranks_and_batches(sets):
    parts = [(sets["a"], 0.6), (sets["c"], 0.4)]
    alone = windows(Mixture(parts, batch_size=1, length=LENGTH))
    first = Mixture(parts, batch_size=4, length=LENGTH, num_ranks=2)
    iterator = iter(first)
    for _ in range(3):
        next(iterator)
    state = json.loads(json.dumps(first.state_dict()))
    second = Mixture(parts, batch_size=3, length=LENGTH)
    second.load_state_dict(state)
    rest = windows(second)
    assert np.array_equal(rest[: len(alone) - 24], alone[24:])
    other = Mixture([(sets["a"], 0.5), (sets["c"], 0.5)], length=LENGTH)
    with pytest.raises(ConfigError, match=r"weights: \[3, 2\] then, \[1, 1\] now"):
        other.load_state_dict(state)


def test_the_next_pass_goes_on_behind_the_first(sets):
    parts = [(sets["a"], 0.5), (sets["b"], 0.5)]
    twice = Mixture(parts, batch_size=1, length=LENGTH, num_ids=800)
    both = np.concatenate([windows(twice), windows(twice)])
    once = Mixture(parts, batch_size=1, length=LENGTH, num_ids=1600)
    assert np.array_equal(both, windows(once))


def test_modalities_of_one_directory_are_parts(tmp_path):
    one = write(tmp_path / "t", [[1, 2, 3]] * 20)
    two = write(tmp_path / "i", [[7, 8]] * 20, modality="image")
    (one / shard_name(9)).write_bytes((two / shard_name(0)).read_bytes())
    mixture = Mixture(
        [
            MixturePart(tokens=one, share=1, modalities=("image",)),
            MixturePart(tokens=one, share=1, modalities=("text",)),
        ],
        length=4,
        batch_size=1,
        num_ids=160,
    )
    rows = windows(mixture)
    assert ((rows >= 7).all(axis=1) | (rows <= 3).all(axis=1)).all()
    assert (rows >= 7).all(axis=1).sum() == 20


def test_loss_masks_stay_with_their_windows(tmp_path):
    rng = np.random.default_rng(3)
    documents = [rng.integers(1000, 2000, rng.integers(2, 30)) for _ in range(30)]
    masked = write(tmp_path / "m", documents, masks=[ids % 2 == 0 for ids in documents])
    plain = write(tmp_path / "p", [ids + 10_000 for ids in documents])
    for batch in Mixture([(masked, 1), (plain, 1)], length=LENGTH, batch_size=4):
        ids = batch.input_ids.numpy()
        expected = (ids >= 10_000) | (ids % 2 == 0)
        assert np.array_equal(batch.row_mask.numpy(), expected)
        assert not batch.loss_mask.view(-1)[batch.piece_starts].any()


def test_one_part_is_the_token_dataset(sets):
    mixture = Mixture([(sets["a"], 1)], length=LENGTH, batch_size=1, seed=5)
    plain = TokenDataset(sets["a"], length=LENGTH, batch_size=1, seed=5)
    ours, theirs = windows(mixture), np.concatenate([b.input_ids.numpy() for b in plain])
    full = len(theirs) - 1  # its last window has padding, ours goes on
    assert np.array_equal(ours[:full], theirs[:full])


def test_bad_input_is_one_sentence(sets, tmp_path):
    other = write(tmp_path / "other", [[1, 2, 3]], bundle="g")
    with pytest.raises(ConfigError, match=r"other was made with the bundle 'b' \(g…\)"):
        Mixture([(sets["a"], 1), (other, 1)])
    with pytest.raises(ConfigError, match=r"share above 0, received 0"):
        Mixture([(sets["a"], 1), (sets["b"], 0)])
    with pytest.raises(ConfigError, match=r"expected by one of tokens, samples"):
        Mixture([(sets["a"], 1)], by="bytes")
    with pytest.raises(ConfigError, match=r"at least one set"):
        Mixture([])
    with pytest.raises(ShardError, match=r"found none"):
        Mixture([(tmp_path, 1)])
    with pytest.raises(ShardError, match=r"at least one row with ids"):
        Mixture([MixturePart(tokens=sets["a"], share=1, modalities=("audio",))])
