"""What counts as right, on cases counted by hand."""

import pytest

from pipelines.tiny.conversations.scene import Scene
from pipelines.tiny.scoring import tiles_right, word_errors

FOUR = Scene(rows=(("cat", "truck"), ("ship", "frog")))


@pytest.mark.parametrize(
    ("rows", "right"),
    [
        ((("cat", "truck"), ("ship", "frog")), 4),
        ((("truck", "cat"), ("ship", "frog")), 2),
        ((("ship", "frog"), ("cat", "truck")), 0),
        ((("cat", "truck"),), 2),
        ((("cat",), ("ship", "frog")), 2),
    ],
)
def test_a_tile_counts_in_its_place_only(rows, right):
    assert tiles_right(FOUR, Scene(rows=rows)) == right


def test_no_scene_no_tile():
    assert tiles_right(FOUR, None) == 0


@pytest.mark.parametrize(
    ("expected", "found", "errors"),
    [
        ("", "", 0),
        ("three one four", "three one four", 0),
        ("three one four", "three four", 1),
        ("three one", "three one one", 1),
        ("one two", "two one", 2),
        ("one", "", 1),
    ],
)
def test_word_errors(expected, found, errors):
    assert word_errors(expected.split(), found.split()) == errors
