"""Drawings and patterns that show none of the ten kinds: what `tiny` has to say no to.

`TRAINED` are those it learns from, `HELD_OUT` those it is only ever tested with.
"""

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pipelines.tiny.conversations.odd_things import THINGS
from pipelines.tiny.conversations.pen import Colour, Pen, any_colour, like

_LETTERS = "abcdefghijklmnopqrstuvwxyz ABCDEFGH 0123456789 .,"


def odd_drawing(name: str, rng: np.random.Generator, *, side: int = 32) -> np.ndarray:
    """Return a drawing `uint8 [side, side, 3]` by a name of `TRAINED` or `HELD_OUT`.

    >>> odd_drawing("house", np.random.default_rng(0), side=64).shape
    (64, 64, 3)
    """
    return {**TRAINED, **HELD_OUT}[name](rng, side)


def _pen(rng: np.random.Generator, side: int, ground: Colour | None = None) -> Pen:
    if ground is None:
        choice = rng.integers(4)
        ground = ((255, 255, 255), (205, 225, 240), any_colour(rng, 150), any_colour(rng))[choice]
    shift = (float(rng.uniform(-0.08, 0.08)), float(rng.uniform(-0.08, 0.08)))
    return Pen(ground, side=side, shift=shift, scale=float(rng.uniform(0.75, 1.2)))


def _tree(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _pen(rng, side)
    if rng.random() < 0.6:
        pen.box((-0.3, 0.82), (1.3, 1.3), like((100, 140, 70), rng, 30))
    pen.box((0.44, 0.5), (0.56, 0.9), like((95, 65, 40), rng))
    leaves = like([(60, 130, 50), (190, 120, 40), (230, 160, 180)][rng.integers(3)], rng, 25)
    if rng.random() < 0.5:
        for x, y in ((0.35, 0.4), (0.65, 0.4), (0.5, 0.25), (0.5, 0.42)):
            pen.disc((x, y), 0.19, like(leaves, rng, 10))
    else:
        for y in (0.1, 0.25, 0.4):
            pen.shape([(0.5, y - 0.08), (0.2, y + 0.27), (0.8, y + 0.27)], like(leaves, rng, 10))
    return pen.pixels()


def _face(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _pen(rng, side)
    dark = (40, 35, 30)
    pen.disc(
        (0.5, 0.5),
        0.4,
        like([(250, 215, 60), (235, 195, 165), (130, 90, 65)][rng.integers(3)], rng),
    )
    for x in (0.36, 0.64):
        pen.disc((x, 0.42), float(rng.uniform(0.03, 0.06)), dark)
    bend = float(rng.uniform(-0.1, 0.12))
    pen.line([(0.32, 0.62), (0.5, 0.62 + bend), (0.68, 0.62)], 0.04, dark)
    return pen.pixels()


def _star(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _pen(rng, side)
    num_points = int(rng.integers(4, 9))
    angles = np.arange(2 * num_points) * np.pi / num_points + rng.uniform(0, 1)
    radii = np.where(np.arange(2 * num_points) % 2, rng.uniform(0.12, 0.25), 0.45)
    corners = [
        (float(0.5 + r * np.cos(a)), float(0.5 + r * np.sin(a)))
        for a, r in zip(angles, radii, strict=True)
    ]
    pen.shape(corners, any_colour(rng))
    return pen.pixels()


def _cup(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, paint = _pen(rng, side), any_colour(rng)
    pen.disc((0.72, 0.52), 0.17, paint)
    pen.disc((0.72, 0.52), 0.1, (225, 225, 220))
    pen.box((0.24, 0.3), (0.7, 0.78), paint)
    pen.disc((0.47, 0.3), (0.23, 0.06), like(paint, rng, 40))
    return pen.pixels()


def _shapes(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _pen(rng, side)
    for _ in range(rng.integers(1, 7)):
        x, y = (float(v) for v in rng.uniform(0.1, 0.9, 2))
        size, colour = float(rng.uniform(0.08, 0.35)), any_colour(rng)
        match rng.integers(3):
            case 0:
                pen.disc((x, y), size, colour)
            case 1:
                pen.box((x - size, y - size), (x + size, y + size), colour)
            case _:
                pen.shape([(x, y - size), (x - size, y + size), (x + size, y + size)], colour)
    return pen.pixels()


def _scribble(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _pen(rng, side)
    for _ in range(rng.integers(1, 5)):
        points = np.cumsum(rng.normal(0, 0.18, (int(rng.integers(3, 14)), 2)), axis=0) + 0.5
        pen.line(
            [(float(x), float(y)) for x, y in points],
            float(rng.uniform(0.015, 0.06)),
            any_colour(rng),
        )
    return pen.pixels()


def _chart(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _pen(rng, side, (255, 255, 255))
    pen.line([(0.08, 0.05), (0.08, 0.92), (0.97, 0.92)], 0.015, (30, 30, 30))
    num_bars, colour = int(rng.integers(3, 9)), any_colour(rng)
    for i, height in enumerate(rng.uniform(0.1, 0.85, num_bars)):
        left = 0.12 + 0.85 * i / num_bars
        pen.box((left, 0.92 - float(height)), (left + 0.6 / num_bars, 0.91), colour)
    return pen.pixels()


def _page(rng: np.random.Generator, side: int) -> np.ndarray:
    dark = rng.random() < 0.2
    paper, ink = ((25, 25, 35), (220, 220, 210)) if dark else ((250, 248, 240), (20, 20, 25))
    big = 128
    image = Image.new("RGB", (big, big), paper)
    draw = ImageDraw.Draw(image)
    size = int(rng.integers(9, 34))
    for top in range(4, big, int(size * 1.3)):
        line = "".join(rng.choice(list(_LETTERS), int(rng.integers(4, 30))))
        draw.text((5, top), line, fill=ink, font_size=size)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def _noise(rng: np.random.Generator, side: int) -> np.ndarray:
    deviation = float(rng.uniform(20, 110))
    noise = rng.normal(rng.uniform(60, 200, 3), deviation, (side, side, 3))
    if rng.random() < 0.3:
        noise = noise[..., :1].repeat(3, axis=2)
    image = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3))))
    return np.asarray(image)


def _cloud(rng: np.random.Generator, side: int) -> np.ndarray:
    coarse = int(rng.integers(2, 9))
    small = Image.fromarray(rng.integers(0, 256, (coarse, coarse, 3), dtype=np.uint8))
    how = Image.Resampling.BICUBIC if rng.random() < 0.6 else Image.Resampling.NEAREST
    return np.asarray(small.resize((side, side), how))


def _plain(rng: np.random.Generator, side: int) -> np.ndarray:
    pixels = np.empty((side, side, 3), np.uint8)
    grey = int(rng.choice([0, 255, int(rng.integers(256))]))
    pixels[:] = any_colour(rng) if rng.random() < 0.6 else grey
    return pixels


def _gradient(rng: np.random.Generator, side: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    share = (np.cos(angle) * x + np.sin(angle) * y + 0.71) / 1.42
    if rng.random() < 0.3:
        share = np.hypot(x, y) / 0.71
    first, last = np.array(any_colour(rng)), np.array(any_colour(rng))
    return (first + share[..., None] * (last - first)).astype(np.uint8)


def _stripes(rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = np.mgrid[0:side, 0:side]
    width, angle = rng.uniform(1.5, side / 3), rng.uniform(0, np.pi)
    mask = np.floor((np.cos(angle) * x + np.sin(angle) * y) / width) % 2
    if rng.random() < 0.4:
        mask = (mask + np.floor((np.cos(angle) * y - np.sin(angle) * x) / width)) % 2
    first, last = np.array(any_colour(rng)), np.array(any_colour(rng))
    return np.where(mask[..., None] > 0, first, last).astype(np.uint8)


def _fruit(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _pen(rng, side)
    skin = like(
        [(200, 40, 40), (235, 150, 30), (120, 170, 50), (110, 40, 120)][rng.integers(4)], rng
    )
    for _ in range(rng.integers(1, 4)):
        x, y = (float(v) for v in rng.uniform(0.3, 0.7, 2))
        radius = float(rng.uniform(0.15, 0.3))
        pen.disc((x, y), radius, like(skin, rng))
        pen.line([(x, y - radius * 0.8), (x + 0.04, y - radius * 1.3)], 0.03, (90, 60, 30))
        pen.disc((x - radius / 3, y - radius / 3), radius / 5, (250, 235, 230))
    return pen.pixels()


def _mountain(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _pen(rng, side, like((150, 190, 230), rng, 30))
    pen.disc((float(rng.uniform(0.1, 0.9)), 0.18), 0.09, (250, 220, 90))
    for middle in rng.uniform(0, 1, int(rng.integers(2, 5))):
        peak, half = float(rng.uniform(0.2, 0.5)), float(rng.uniform(0.2, 0.45))
        x = float(middle)
        pen.shape([(x, peak), (x - half, 0.9), (x + half, 0.9)], like((110, 110, 120), rng, 25))
        pen.shape(
            [(x, peak), (x - half / 4, peak + 0.14), (x + half / 4, peak + 0.14)], (240, 240, 245)
        )
    pen.box((-0.3, 0.85), (1.3, 1.3), like((90, 130, 70), rng, 25))
    return pen.pixels()


def _house(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _pen(rng, side, like((205, 225, 240), rng))
    pen.box((-0.3, 0.78), (1.3, 1.3), like((105, 150, 85), rng))
    pen.box((0.22, 0.42), (0.72, 0.84), like((185, 85, 60), rng, 40))
    pen.shape([(0.15, 0.44), (0.79, 0.44), (0.47, 0.16)], like((95, 60, 45), rng, 30))
    pen.box((0.4, 0.6), (0.53, 0.84), (245, 240, 230))
    pen.disc((0.86, 0.16), 0.09, (245, 195, 80))
    return pen.pixels()


def _flower(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, petal = _pen(rng, side), any_colour(rng, 60)
    pen.line([(0.5, 0.45), (0.5, 0.98)], 0.05, (60, 130, 60))
    pen.shape([(0.5, 0.8), (0.72, 0.62), (0.66, 0.8)], (60, 130, 60))
    for angle in np.arange(6) * np.pi / 3:
        pen.disc((0.5 + 0.2 * float(np.cos(angle)), 0.36 + 0.2 * float(np.sin(angle))), 0.13, petal)
    pen.disc((0.5, 0.36), 0.11, (240, 200, 60))
    return pen.pixels()


def _umbrella(rng: np.random.Generator, side: int) -> np.ndarray:
    pen, paint = _pen(rng, side), any_colour(rng)
    pen.disc((0.5, 0.45), (0.4, 0.34), paint)
    pen.box((0.05, 0.45), (0.95, 0.82), (235, 235, 235))
    pen.line([(0.5, 0.2), (0.5, 0.85), (0.6, 0.9), (0.66, 0.8)], 0.04, (70, 50, 40))
    return pen.pixels()


def _snowman(rng: np.random.Generator, side: int) -> np.ndarray:
    pen = _pen(rng, side, like((130, 165, 205), rng, 30))
    pen.box((-0.3, 0.85), (1.3, 1.3), (240, 245, 250))
    for y, radius in ((0.73, 0.22), (0.45, 0.16), (0.24, 0.11)):
        pen.disc((0.5, y), radius, (250, 250, 252))
    pen.shape([(0.5, 0.25), (0.66, 0.28), (0.5, 0.29)], (235, 130, 40))
    for x in (0.46, 0.54):
        pen.disc((x, 0.21), 0.015, (20, 20, 20))
    pen.box((0.4, 0.06), (0.6, 0.15), (40, 40, 45))
    return pen.pixels()


_Draw = Callable[[np.random.Generator, int], np.ndarray]

TRAINED: Mapping[str, _Draw] = {
    "tree": _tree,
    "face": _face,
    "star": _star,
    "cup": _cup,
    "shapes": _shapes,
    "scribble": _scribble,
    "chart": _chart,
    "page": _page,
    "noise": _noise,
    "cloud": _cloud,
    "plain": _plain,
    "gradient": _gradient,
    "stripes": _stripes,
    "fruit": _fruit,
    "mountain": _mountain,
    **THINGS,
}
HELD_OUT: Mapping[str, _Draw] = {
    "house": _house,
    "flower": _flower,
    "umbrella": _umbrella,
    "snowman": _snowman,
}
