"""Drawings: of the ten kinds, and of things that are none of them."""

import numpy as np
import pytest

from pipelines.tiny.conversations.drawn_kinds import drawn_kind
from pipelines.tiny.conversations.odd_drawings import HELD_OUT, TRAINED, odd_drawing
from pipelines.tiny.conversations.pen import Pen, any_colour, like
from pipelines.tiny.conversations.scene import LABELS

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def test_a_disc_covers_as_much_as_a_circle():
    pen = Pen(WHITE, side=64)
    pen.disc((0.5, 0.5), 0.25, BLACK)
    covered = 1 - pen.pixels().mean() / 255
    assert covered == pytest.approx(np.pi * 0.25**2, abs=0.01)


def test_shift_and_scale_move_a_box():
    pen = Pen(WHITE, side=8, shift=(0.25, 0.0), scale=0.5)
    pen.box((0.0, 0.0), (0.5, 1.0), BLACK)
    # In sides, 0 + 0.25 - 0.5 halves to -0.125 and becomes 0.375; 0.5 becomes 0.625.
    assert np.flatnonzero(pen.pixels()[4, :, 0] == 0).tolist() == [3, 4]


@pytest.mark.parametrize("label", LABELS)
def test_each_kind_is_drawn_anew_by_each_seed_and_alike_by_the_same(label):
    one, again, other = (drawn_kind(label, np.random.default_rng(n)) for n in (0, 0, 1))
    assert one.dtype == np.uint8 and one.shape == (32, 32, 3)
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert one.std() > 5


@pytest.mark.parametrize("name", [*TRAINED, *HELD_OUT])
def test_odd_drawings_have_the_size_that_is_asked_for(name):
    for seed in range(8):
        drawing = odd_drawing(name, np.random.default_rng(seed), side=48)
        assert drawing.dtype == np.uint8 and drawing.shape == (48, 48, 3)


def test_what_is_tested_is_not_trained():
    assert not set(TRAINED) & set(HELD_OUT)
    assert {"house", "flower"} <= set(HELD_OUT)


def test_colours_stay_colours():
    rng = np.random.default_rng(0)
    assert all(0 <= v <= 255 for _ in range(50) for v in like((3, 250, 128), rng))
    assert all(20 <= v < 235 for _ in range(50) for v in any_colour(rng, 20, 235))
