"""A pen for small drawings: shapes in units of the picture's side, smooth at 32 pixels."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]

_FINER = 4


class Pen:
    """Draws on a square canvas from (0, 0), top left, to (1, 1).

    Args:
        ground: colour of the empty canvas.
        side: of the finished picture, in pixels.
        shift: by how much all that is drawn moves, in sides.
        scale: by how much it grows around the middle.

    >>> pen = Pen((255, 255, 255), side=4)
    >>> pen.box((0, 0), (1, 0.5), (0, 0, 0))
    >>> pen.pixels()[:, 0, 0].tolist()
    [0, 0, 255, 255]
    """

    def __init__(
        self, ground: Colour, *, side: int = 32, shift: Point = (0.0, 0.0), scale: float = 1.0
    ) -> None:
        self._side, self._shift, self._scale = side, shift, scale
        self._canvas = Image.new("RGB", (side * _FINER, side * _FINER), ground)
        self._draw = ImageDraw.Draw(self._canvas)

    def box(self, start: Point, stop: Point, colour: Colour) -> None:
        """Fill a rectangle between two corners."""
        (left, top), (right, bottom) = self._at(start), self._at(stop)
        self._draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def disc(self, centre: Point, radius: Point | float, colour: Colour) -> None:
        """Fill a circle, or an ellipse where `radius` is two."""
        wide, high = radius if isinstance(radius, tuple) else (radius, radius)
        x, y = centre
        (left, top), (right, bottom) = (
            self._at((x - wide, y - high)),
            self._at((x + wide, y + high)),
        )
        self._draw.ellipse((left, top, right, bottom), fill=colour)

    def shape(self, corners: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._at(corner) for corner in corners], fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line through points."""
        thick = max(1, round(width * self._scale * self._side * _FINER))
        self._draw.line([self._at(p) for p in points], fill=colour, width=thick, joint="curve")

    def pixels(self) -> np.ndarray:
        """Return the picture, `uint8 [side, side, 3]`."""
        small = self._canvas.resize((self._side, self._side), Image.Resampling.BOX)
        return np.asarray(small)

    def _at(self, point: Point) -> Point:
        size = self._side * _FINER
        x, y = (0.5 + (v + s - 0.5) * self._scale for v, s in zip(point, self._shift, strict=True))
        return x * size, y * size


def any_colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> Colour:
    """Return a colour whose channels lie in `low` … `high - 1`."""
    red, green, blue = (int(v) for v in rng.integers(low, high, 3))
    return red, green, blue


def like(colour: Colour, rng: np.random.Generator, by: int = 18) -> Colour:
    """Return a colour near to another one."""
    red, green, blue = (int(np.clip(v + rng.integers(-by, by + 1), 0, 255)) for v in colour)
    return red, green, blue
