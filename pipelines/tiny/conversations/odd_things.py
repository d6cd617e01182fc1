"""More drawings that show none of the ten kinds: things of a household, and things of no name.

`odd_drawings` has them among those to learn from. What has no name is put together at random in
front of the same skies and lawns as the drawings of the ten kinds, so that a lawn says nothing.
"""

from collections.abc import Callable, Mapping

import numpy as np

from pipelines.tiny.conversations.pen import Colour, Pen, any_colour, like

_SKIES: tuple[Colour, ...] = ((150, 195, 235), (205, 225, 240), (240, 240, 235), (60, 70, 110))
_GROUNDS: tuple[Colour, ...] = ((95, 140, 70), (40, 90, 140), (120, 120, 125), (175, 150, 125))


def _scene(rng: np.random.Generator, side: int) -> Pen:
    """Return a canvas with a plain ground, or with a sky over something to stand on."""
    shift = (float(rng.uniform(-0.08, 0.08)), float(rng.uniform(-0.08, 0.08)))
    is_plain = rng.random() < 0.4
    sky = any_colour(rng, 100) if is_plain else like(_SKIES[rng.integers(len(_SKIES))], rng, 25)
    pen = Pen(sky, side=side, shift=shift, scale=float(rng.uniform(0.75, 1.2)))
    if not is_plain:
        ground = like(_GROUNDS[rng.integers(len(_GROUNDS))], rng, 30)
        pen.box((-0.4, float(rng.uniform(0.5, 0.85))), (1.4, 1.4), ground)
    return pen


def _thing(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw a mirrored heap of shapes in few colours."""
    pen = _scene(rng, side)
    paints = [any_colour(rng) for _ in range(rng.integers(1, 4))]
    for _ in range(rng.integers(2, 7)):
        x, y = float(rng.uniform(0, 0.35)), float(rng.uniform(0.15, 0.85))
        wide, high = (float(v) for v in rng.uniform(0.04, 0.3, 2))
        paint = like(paints[rng.integers(len(paints))], rng)
        kind = rng.integers(4)
        for middle in (0.5 - x, 0.5 + x):
            match kind:
                case 0:
                    pen.disc((middle, y), (wide, high), paint)
                case 1:
                    pen.box((middle - wide, y - high), (middle + wide, y + high), paint)
                case 2:
                    top = (middle, y - high)
                    pen.shape([top, (middle - wide, y + high), (middle + wide, y + high)], paint)
                case _:
                    pen.line([(0.5, y), (middle, y - high)], 0.15 * wide + 0.015, paint)
    return pen.pixels()


def _clock(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _scene(rng, side)
    pen.disc((0.5, 0.5), 0.4, any_colour(rng))
    pen.disc((0.5, 0.5), 0.34, (245, 243, 235))
    for length in (0.18, 0.28):
        angle = float(rng.uniform(0, 2 * np.pi))
        end = (0.5 + length * float(np.cos(angle)), 0.5 + length * float(np.sin(angle)))
        pen.line([(0.5, 0.5), end], 0.035, (30, 30, 35))
    return pen.pixels()


def _bottle(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, glass = _scene(rng, side), any_colour(rng, 20, 220)
    pen.box((0.44, 0.08), (0.56, 0.4), glass)
    pen.shape([(0.44, 0.3), (0.56, 0.3), (0.68, 0.46), (0.32, 0.46)], glass)
    pen.box((0.32, 0.45), (0.68, 0.92), glass)
    pen.box((0.34, 0.55), (0.66, 0.75), like((240, 235, 215), rng))
    return pen.pixels()


def _furniture(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, wood = _scene(rng, side), like((150, 100, 60), rng, 40)
    seat = float(rng.uniform(0.45, 0.6))
    left, right = float(rng.uniform(0.1, 0.28)), float(rng.uniform(0.72, 0.9))
    for x in (left + 0.03, right - 0.03):
        pen.line([(x, seat), (x, 0.93)], 0.05, like(wood, rng))
    pen.box((left, seat), (right, seat + 0.08), wood)
    if rng.random() < 0.6:
        pen.box((left, seat - 0.38), (left + 0.07, seat), wood)
    return pen.pixels()


def _lamp(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, shade = _scene(rng, side), any_colour(rng, 90)
    pen.line([(0.5, 0.35), (0.5, 0.9)], 0.04, (70, 60, 55))
    pen.box((0.33, 0.86), (0.67, 0.93), (70, 60, 55))
    pen.shape([(0.38, 0.1), (0.62, 0.1), (0.76, 0.45), (0.24, 0.45)], shade)
    return pen.pixels()


def _leaf(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _scene(rng, side)
    green = like([(70, 140, 60), (190, 110, 40), (150, 160, 60)][rng.integers(3)], rng, 25)
    wide = float(rng.uniform(0.15, 0.3))
    pen.shape([(0.5, 0.05), (0.5 - wide, 0.4), (0.5, 0.85), (0.5 + wide, 0.4)], green)
    pen.line([(0.5, 0.1), (0.5, 0.97)], 0.025, like((90, 80, 40), rng))
    for y in (0.3, 0.45, 0.6):
        pen.line([(0.5 - wide * 0.6, y - 0.08), (0.5, y), (0.5 + wide * 0.6, y - 0.08)], 0.015,
                 like((90, 110, 50), rng))  # fmt: skip
    return pen.pixels()


def _mushroom(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, cap = _scene(rng, side), like((190, 60, 45), rng, 60)
    pen.shape([(0.42, 0.45), (0.58, 0.45), (0.64, 0.92), (0.36, 0.92)], (235, 225, 205))
    pen.disc((0.5, 0.42), (0.36, 0.22), cap)
    for x, y in ((0.35, 0.4), (0.55, 0.33), (0.68, 0.45)):
        pen.disc((x, y), 0.045, (245, 240, 235))
    return pen.pixels()


def _ball(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, paint = _scene(rng, side), any_colour(rng)
    x, y, radius = (float(v) for v in rng.uniform((0.35, 0.35, 0.18), (0.65, 0.65, 0.38)))
    pen.disc((x, y), radius, paint)
    for turn in rng.uniform(0, np.pi, int(rng.integers(0, 4))):
        dx, dy = radius * float(np.cos(turn)), radius * float(np.sin(turn))
        pen.line([(x - dx, y - dy), (x + dx, y + dy)], 0.03, like(paint, rng, 70))
    return pen.pixels()


def _books(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, left = _scene(rng, side), 0.05
    while left < 0.9:
        width = float(rng.uniform(0.06, 0.18))
        pen.box((left, float(rng.uniform(0.1, 0.4))), (left + width, 0.9), any_colour(rng))
        left += width + 0.01
    return pen.pixels()


def _cake(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, dough = _scene(rng, side), any_colour(rng, 90)
    pen.box((0.15, 0.5), (0.85, 0.88), dough)
    pen.box((0.15, 0.5), (0.85, 0.6), (245, 235, 235))
    for x in np.linspace(0.25, 0.75, int(rng.integers(1, 6))):
        pen.box((float(x) - 0.02, 0.3), (float(x) + 0.02, 0.5), any_colour(rng))
        pen.disc((float(x), 0.26), (0.02, 0.045), (250, 200, 70))
    return pen.pixels()


def _heart(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, paint = _scene(rng, side), any_colour(rng)
    for x in (0.34, 0.66):
        pen.disc((x, 0.36), 0.185, paint)
    pen.shape([(0.18, 0.44), (0.82, 0.44), (0.5, 0.88)], paint)
    return pen.pixels()


def _fence(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, wood = _scene(rng, side), like((200, 180, 150), rng, 50)
    for y in (0.5, 0.72):
        pen.box((-0.3, y), (1.3, y + 0.05), like(wood, rng))
    for x in np.arange(-0.2, 1.2, float(rng.uniform(0.12, 0.25))):
        pen.box((float(x), 0.35), (float(x) + 0.07, 0.92), wood)
    return pen.pixels()


def _key(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, metal = _scene(rng, side), like((190, 160, 70), rng, 60)
    pen.disc((0.25, 0.5), 0.17, metal)
    pen.disc((0.25, 0.5), 0.08, any_colour(rng, 120))
    pen.line([(0.4, 0.5), (0.92, 0.5)], 0.06, metal)
    for x in (0.75, 0.86):
        pen.line([(x, 0.5), (x, 0.64)], 0.05, metal)
    return pen.pixels()


def _balloon(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _scene(rng, side)
    for _ in range(rng.integers(1, 5)):
        x, y = float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.2, 0.5))
        pen.line([(x, y), (0.5, 1.0)], 0.012, (80, 80, 80))
        pen.disc((x, y), (0.13, 0.17), any_colour(rng))
    return pen.pixels()


def _bulb(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _scene(rng, side)
    pen.disc((0.5, 0.38), 0.27, like((250, 225, 110), rng, 30))
    pen.box((0.4, 0.58), (0.6, 0.85), (140, 140, 145))
    for y in (0.66, 0.74):
        pen.line([(0.4, y), (0.6, y)], 0.02, (90, 90, 95))
    return pen.pixels()


THINGS: Mapping[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "thing": _thing,
    "clock": _clock,
    "bottle": _bottle,
    "furniture": _furniture,
    "lamp": _lamp,
    "leaf": _leaf,
    "mushroom": _mushroom,
    "ball": _ball,
    "books": _books,
    "cake": _cake,
    "heart": _heart,
    "fence": _fence,
    "key": _key,
    "balloon": _balloon,
    "bulb": _bulb,
}
