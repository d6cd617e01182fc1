"""Pictures of 32x32 put together into one of up to 64x64, and the scene that this makes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.tiny.conversations.scene import Row, Scene

SIDE = 32
"""Of a tile, in pixels."""

_LAYOUTS: dict[int, tuple[tuple[float, tuple[str, ...]], ...]] = {
    # Share, then rows: a digit is a tile, a dot an empty place, two spaces half a place.
    1: ((1.0, ("0",)),),
    2: (
        (0.35, ("01",)),
        (0.25, ("0", "1")),
        (0.16, ("01", "..")),
        (0.06, ("0.", "1.")),
        (0.06, (".0", ".1")),
        (0.06, ("0.", ".1")),
        (0.06, (".0", "1.")),
    ),
    3: (
        (0.45, ("01", "2.")),
        (0.15, ("01", ".2")),
        (0.15, ("01", " 2 ")),
        (0.13, ("0.", "12")),
        (0.12, (".0", "12")),
    ),
    4: ((1.0, ("01", "23")),),
}


@dataclass(frozen=True, kw_only=True)
class Mosaic:
    """A picture of tiles.

    Attributes:
        pixels: `uint8 [H, W, 3]` with H and W of 32 or 64; empty places have one colour.
        scene: what is where.
        corners: top and left of each tile, in pixels.
    """

    pixels: np.ndarray
    scene: Scene
    corners: tuple[tuple[int, int], ...]


def compose(tiles: Sequence[np.ndarray], labels: Sequence[str], rng: np.random.Generator) -> Mosaic:
    """Lay out one to four tiles and say what is where.

    Args:
        tiles: `uint8 [32, 32, 3]` each.
        labels: their classes.

    >>> tile = np.zeros((32, 32, 3), np.uint8)
    >>> mosaic = compose([tile] * 4, ["cat", "truck", "ship", "frog"], np.random.default_rng(0))
    >>> mosaic.pixels.shape, mosaic.scene.describe("en")
    ((64, 64, 3), 'a cat left of a truck; below, a ship and a frog')
    >>> mosaic.corners
    ((0, 0), (0, 32), (32, 0), (32, 32))
    """
    layouts = _LAYOUTS[len(tiles)]
    rows = layouts[rng.choice(len(layouts), p=[share for share, _ in layouts])][1]
    width = max(len(row.strip()) for row in rows)
    canvas = np.empty((SIDE * len(rows), SIDE * width, 3), np.uint8)
    canvas[:] = _blank_colour(rng)
    corners = {}
    for y, row in enumerate(rows):
        for place, mark in enumerate(row):
            if mark.isdigit():
                left = SIDE // 2 if row.startswith(" ") else SIDE * place
                top = SIDE * y
                canvas[top : top + SIDE, left : left + SIDE] = tiles[int(mark)]
                corners[int(mark)] = (top, left)
    told = [_told(row, labels) for row in rows]
    while told[-1] == (None, None):  # nobody speaks of an empty row below
        told.pop()
    return Mosaic(
        pixels=canvas,
        scene=Scene(rows=tuple(told)),
        corners=tuple(corners[number] for number in range(len(tiles))),
    )


def _told(row: str, labels: Sequence[str]) -> Row:
    return tuple(labels[int(mark)] if mark.isdigit() else None for mark in row.strip())


def _blank_colour(rng: np.random.Generator) -> np.ndarray:
    match rng.integers(4):
        case 0:
            return np.zeros(3, np.uint8)
        case 1:
            return np.full(3, 255, np.uint8)
        case 2:
            return np.full(3, rng.integers(256), np.uint8)
    return rng.integers(0, 256, 3, dtype=np.uint8)
