"""Windows are full of samples, and every frame of a recording is kept exactly once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dvse.audio.windows import FrameGrid, Windowing
from dvse.errors import ConfigError, TooShortError

GRID = FrameGrid(stride=4, reach=11)


def blocks(num_samples: int, size: int) -> list[np.ndarray]:
    samples = np.arange(num_samples, dtype=np.float32)
    return [samples[start : start + size] for start in range(0, num_samples, size)]


@given(
    num_samples=st.integers(11, 900),
    block=st.integers(1, 300),
    window=st.integers(1, 40),
    data=st.data(),
)
@settings(max_examples=300, deadline=None)
def test_every_frame_is_kept_exactly_once(
    num_samples: int, block: int, window: int, data: st.DataObject
) -> None:
    hop = data.draw(st.integers(1, window))
    plan = Windowing(window_frames=window, hop_frames=hop)
    kept = []
    for found in plan.cut(blocks(num_samples, block), GRID):
        first = int(found.samples[0])
        assert first % GRID.stride == 0
        np.testing.assert_array_equal(found.samples, np.arange(first, first + len(found.samples)))
        assert 0 <= found.keep[0] <= found.keep[1] <= GRID.num_frames(len(found.samples))
        kept += [first // GRID.stride + frame for frame in range(*found.keep)]
        if len(found.samples) != num_samples:
            assert len(found.samples) == GRID.num_samples(window)
    assert kept == list(range(GRID.num_frames(num_samples)))


def test_a_recording_of_one_window_keeps_its_exact_length() -> None:
    plan = Windowing(window_frames=10, hop_frames=8)
    for num_samples in (11, 30, GRID.num_samples(10), GRID.num_samples(11) - 1):
        (window,) = plan.cut(blocks(num_samples, 7), GRID)
        assert len(window.samples) == num_samples
        assert window.keep == (0, GRID.num_frames(num_samples))


def test_frames_have_context_on_both_sides() -> None:
    plan = Windowing(window_frames=30, hop_frames=20)
    windows = list(plan.cut(blocks(GRID.num_samples(100), 50), GRID))
    # Windows begin at 0, 20, 40, 60, 70; each keeps up to the middle of what it shares.
    assert [int(w.samples[0]) // 4 for w in windows] == [0, 20, 40, 60, 70]
    assert [w.keep for w in windows] == [(0, 25), (5, 25), (5, 25), (5, 20), (10, 30)]


def test_cutting_does_not_depend_on_the_blocks() -> None:
    plan = Windowing(window_frames=9, hop_frames=5)
    expected = [(w.samples.tolist(), w.keep) for w in plan.cut(blocks(400, 400), GRID)]
    for size in (1, 13, 399):
        assert [(w.samples.tolist(), w.keep) for w in plan.cut(blocks(400, size), GRID)] == expected


def test_less_than_a_frame_is_too_short() -> None:
    plan = Windowing(window_frames=9, hop_frames=5)
    for num_samples in (0, 10):
        with pytest.raises(
            TooShortError, match=f"at least 11 samples, one frame, received {num_samples}"
        ):
            list(plan.cut(blocks(num_samples, 4), GRID))


@given(
    layers=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 4)), min_size=1, max_size=4),
    extra=st.integers(0, 200),
)
@settings(max_examples=60, deadline=None)
def test_the_grid_counts_as_the_convolutions_do(layers: list[tuple[int, int]], extra: int) -> None:
    grid = FrameGrid.of(*zip(*layers, strict=True))
    stack = nn.Sequential(*(nn.Conv1d(1, 1, kernel, stride) for kernel, stride in layers))
    num_samples = grid.reach + extra
    assert stack(torch.zeros(1, 1, num_samples)).shape[-1] == grid.num_frames(num_samples)
    assert grid.num_frames(grid.reach - 1) == 0
    frames = grid.num_frames(num_samples)
    assert grid.num_frames(grid.num_samples(frames)) == frames
    assert grid.num_frames(grid.num_samples(frames) - 1) == frames - 1


@pytest.mark.parametrize(("window", "hop"), [(0, 0), (5, 6), (5, 0)])
def test_plans_that_lose_frames_are_refused(window: int, hop: int) -> None:
    with pytest.raises(ConfigError, match="hop_frames <= window_frames"):
        Windowing(window_frames=window, hop_frames=hop)
