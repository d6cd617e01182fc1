import math

import pytest

from dvse.errors import BundleFormatError, ConfigError
from dvse.image.geometry import (
    AspectGeometry,
    SquareGeometry,
    geometry_from_dict,
    geometry_to_dict,
)


@pytest.mark.parametrize(
    ("width", "height", "grid"),
    [
        (32, 32, (8, 8)),
        (64, 64, (16, 16)),
        (64, 32, (8, 16)),
        (1, 1, (1, 1)),
        (3, 3, (1, 1)),
        (33, 34, (9, 8)),  # 8.25 and 8.5 patches, halves rounded up
        (500, 375, (14, 18)),
        (375, 500, (18, 14)),
        (4000, 3000, (14, 18)),
        (4, 400, (100, 1)),
        (10_000, 100, (2, 128)),  # 160 columns, but a side states at most 128
    ],
)
def test_aspect_grids(width, height, grid):
    geometry = AspectGeometry(patch_size=4, max_tokens=256)
    placement = geometry.place(width, height)
    assert placement.grid == grid
    assert placement.size == (placement.grid[1] * 4, placement.grid[0] * 4)
    assert placement.box == (0, 0, width, height)


def test_aspect_never_passes_the_budget_and_keeps_the_aspect():
    geometry = AspectGeometry(patch_size=4, max_tokens=256)
    for width in (1, 7, 31, 64, 65, 100, 333, 1024, 5000):
        for height in (1, 5, 32, 63, 64, 66, 200, 999, 4096):
            rows, columns = geometry.place(width, height).grid
            assert 1 <= rows * columns <= 256
            assert columns * 4 < width + 4 and rows * 4 < height + 4  # grows to whole patches only
            if min(width, height) >= 32 and max(width, height) < 4 * min(width, height):
                error = math.log(columns / rows) - math.log(width / height)
                assert abs(error) < 0.2


def test_aspect_turned_picture_gets_the_turned_grid():
    geometry = AspectGeometry(patch_size=16, max_tokens=196)
    for width, height in [(500, 375), (640, 480), (1000, 30), (17, 900)]:
        rows, columns = geometry.place(width, height).grid
        assert geometry.place(height, width).grid == (columns, rows)


def test_square_takes_the_centre():
    assert SquareGeometry(size=4, patch_size=2).place(10, 4).box == (3, 0, 7, 4)
    assert SquareGeometry(size=4, patch_size=2).place(4, 11).box == (0, 3.5, 4, 7.5)
    assert SquareGeometry(size=4, patch_size=2).fixed_grid == (2, 2)


@pytest.mark.parametrize(
    "geometry", [SquareGeometry(size=8, patch_size=4), AspectGeometry(patch_size=4, max_tokens=9)]
)
def test_description_round_trip(geometry):
    assert geometry_from_dict(geometry_to_dict(geometry)) == geometry


@pytest.mark.parametrize(
    "description",
    [
        None,
        [],
        {},
        {"kind": "round"},
        {"kind": ["square"]},
        {"kind": "square", "size": 8},
        {"kind": "square", "size": 8, "patch_size": 3},
        {"kind": "square", "size": "8", "patch_size": 4},
        {"kind": "aspect", "patch_size": 4, "max_tokens": 0},
        {"kind": "aspect", "patch_size": 4, "max_tokens": 9, "colour": 1},
    ],
)
def test_wrong_descriptions_are_refused(description):
    with pytest.raises(BundleFormatError):
        geometry_from_dict(description)


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="patch_size"):
        AspectGeometry(patch_size=True, max_tokens=4)
