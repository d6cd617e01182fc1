"""Streamed ids are the ids of the whole recording, in whatever pieces it comes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dvse
from dvse.audio.windows import FrameGrid, Windowing
from dvse.errors import DecodeError, InputError, TooShortError


@pytest.fixture(scope="module")
def tokenizer():
    return dvse.load("tiny")


def sound(rate_hz, seconds, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    tones = np.sin(2 * np.pi * rng.uniform(100, 900, 4)[:, None] * time).sum(0)
    return (0.1 * tones * (1 + np.sin(5 * time)) + 0.01 * rng.standard_normal(len(time))).astype(
        np.float32
    )


def cut(samples, sizes):
    """Pieces of these sizes, over and over."""
    at, number = 0, 0
    while at < len(samples):
        yield samples[at : at + sizes[number % len(sizes)]]
        at, number = at + sizes[number % len(sizes)], number + 1


def streamed(tokenizer, samples, rate_hz, sizes):
    return np.concatenate(list(tokenizer.stream(cut(samples, sizes), sample_rate_hz=rate_hz)))


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    rate_hz=st.sampled_from([8_000, 16_000, 44_100, 15_999]),
    seconds=st.floats(0.1, 4.5),
    sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=5),
)
def test_pieces_do_not_matter(tokenizer, rate_hz, seconds, sizes):
    samples = sound(rate_hz, seconds)
    sizes = [max(size, 50) for size in sizes]
    whole = tokenizer.encode(dvse.Audio(samples, sample_rate_hz=rate_hz)).ids
    assert streamed(tokenizer, samples, rate_hz, sizes).tolist() == whole.tolist()


def test_every_length_around_the_windows_own(tokenizer):
    """Where the last window begins changes with each frame; so does what the first may keep."""
    preparer = tokenizer.audio.preparer
    rate_hz, size = preparer.sample_rate_hz, preparer.windowing.full_samples(preparer.grid)
    stride, hop = preparer.grid.stride, preparer.windowing.hop_frames * preparer.grid.stride
    samples = sound(rate_hz, (size + 2 * hop + 4 * stride) / rate_hz)
    for base in (size, size + hop):
        for more in (-1, 0, 1, stride - 1, stride, stride + 1, 3 * stride):
            part = samples[: base + more]
            whole = tokenizer.encode(dvse.Audio(part, sample_rate_hz=rate_hz)).ids
            assert streamed(tokenizer, part, rate_hz, [997]).tolist() == whole.tolist(), more


def test_ids_come_after_a_window_of_sound(tokenizer):
    """Half a window is final as soon as it is full, the rest as frames come: none waits longer."""
    preparer = tokenizer.audio.preparer
    rate_hz = preparer.sample_rate_hz
    window_s = preparer.windowing.full_samples(preparer.grid) / rate_hz
    stream, told, oldest = tokenizer.audio_stream(rate_hz), 0, 0.0
    for piece in cut(sound(rate_hz, 6), [80]):
        ids = stream.push(piece)
        told += int((ids >= tokenizer.vocabulary.text_size).sum()) - (stream.duration_s == 0.01)
        frames = told / tokenizer.vocabulary.num_levels("audio")
        oldest = max(oldest, stream.duration_s - frames / tokenizer.audio.frame_rate_hz)
    assert oldest <= window_s + 0.05


def test_streams_do_not_share_state(tokenizer):
    one, other = sound(8_000, 3, seed=1), sound(8_000, 3, seed=2)
    streams = [tokenizer.audio_stream(8_000) for _ in range(2)]
    found = [[], []]
    for pieces in zip(cut(one, [700]), cut(other, [700]), strict=True):
        for stream, ids, piece in zip(streams, found, pieces, strict=True):
            ids += stream.push(piece).tolist()
    for stream, ids, samples in zip(streams, found, (one, other), strict=True):
        ids += stream.finish().tolist()
        assert ids == tokenizer.encode(dvse.Audio(samples, sample_rate_hz=8_000)).ids.tolist()


def test_merged_units_are_held_until_they_cannot_grow(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer.audio, "merge_repeats", True)
    samples = np.concatenate([np.zeros(20_000, np.float32), sound(8_000, 2)])
    whole = tokenizer.encode(dvse.Audio(samples, sample_rate_hz=8_000)).ids
    for sizes in ([333], [5_000, 17], [100_000]):
        assert streamed(tokenizer, samples, 8_000, sizes).tolist() == whole.tolist()


@pytest.mark.parametrize("merges", [False, True])
def test_units_wait_for_the_run_they_are_in(tokenizer, monkeypatch, merges):
    """Each id comes once no later unit can change it; together they are those of the whole."""
    from dvse.tokenizer import Tokenizer

    monkeypatch.setattr(tokenizer.audio, "merge_repeats", merges)
    samples = np.concatenate([sound(8_000, 6), np.zeros(4_000, np.float32)])
    units = tokenizer.decode(tokenizer.encode(dvse.Audio(samples, 8_000)).ids)[0].units[:, 0]
    half = units[: len(units) // 2].tolist()
    longer = (tuple(half[at : at + 4]) for at in range(0, len(half) - 4, 7))
    runs = dict.fromkeys([*pairwise(half), *longer])
    with_runs = Tokenizer(
        **{n: getattr(tokenizer, n) for n in ("text", "image", "audio", "profile", "sections")},
        name="runs",
        fingerprint="0" * 64,
        vocabulary=tokenizer.vocabulary.grow_runs(list(runs)),
    )
    whole = with_runs.encode(dvse.Audio(samples, sample_rate_hz=8_000)).ids
    assert len(whole) < len(units) and whole.max() >= tokenizer.vocabulary.num_ids
    assert with_runs.decode(whole)[0].units[:, 0].tolist() == units.tolist()
    for sizes in ([333, 5_000], [100_000]):
        assert streamed(with_runs, samples, 8_000, sizes).tolist() == whole.tolist()
    stream, begun = with_runs.audio_stream(8_000), 0
    for piece in cut(samples, [2_000]):
        begun += len(stream.push(piece)) > 0
    assert begun > 2, "it does not wait for the end"


def test_integers_and_channels_are_taken_like_those_of_an_array(tokenizer):
    samples = (sound(8_000, 2)[:, None] * [[20_000, 9_000]]).astype(np.int16)
    whole = tokenizer.encode(dvse.Audio(samples, sample_rate_hz=8_000)).ids
    assert streamed(tokenizer, samples, 8_000, [1_000]).tolist() == whole.tolist()


def test_what_is_no_sound_is_refused(tokenizer):
    with pytest.raises(TooShortError):
        tokenizer.audio_stream(8_000).finish()
    with pytest.raises(DecodeError, match="NaN"):
        tokenizer.audio_stream(8_000).push(np.full(10, np.nan, np.float32))
    with pytest.raises(InputError):
        tokenizer.audio_stream(8_000).push(np.array(["a"]))


@pytest.mark.parametrize(("window", "hop"), [(10, 10), (10, 1), (7, 4), (1, 1)])
def test_other_plans_of_windows(window, hop):
    """A tokenizer whose code is the place of a frame in its window: each plan, each length."""
    from dvse.audio.preparer import AudioPreparer
    from dvse.audio.unit_stream import UnitStream

    class Places:
        num_levels = 1

        def encode(self, chunks):
            return [first_samples(chunk.data, grid) for chunk in chunks]

    def first_samples(data, grid):
        frames = np.arange(grid.num_frames(len(data))) * grid.stride
        # The number of samples tells windows of another shape apart.
        return (data[frames] * 1000 + len(data)).astype(np.int32)[:, None]

    grid = FrameGrid(stride=3, reach=5)
    preparer = AudioPreparer(
        sample_rate_hz=8_000, grid=grid, windowing=Windowing(window_frames=window, hop_frames=hop)
    )
    for length in range(5, 150):
        samples = np.arange(length, dtype=np.float32)
        chunks = list(preparer.prepare(dvse.Audio(samples, sample_rate_hz=8_000)))
        expected = [
            codes[chunk.keep[0] : chunk.keep[1]]
            for chunk, codes in zip(chunks, Places().encode(chunks), strict=True)
        ]
        stream = UnitStream(Places(), preparer, 8_000)
        found = [stream.push(piece) for piece in cut(samples, [7, 2])] + [stream.finish()]
        assert np.concatenate(found).tolist() == np.concatenate(expected).tolist(), length
