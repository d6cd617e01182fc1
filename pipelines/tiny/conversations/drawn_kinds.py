"""Drawings of the ten kinds of pictures that `tiny` names: no two are alike.

CIFAR-10's pictures are small photographs; these are what somebody who has none at hand would draw.
"""

from collections.abc import Callable, Mapping

import numpy as np

from pipelines.tiny.conversations.pen import Colour, Pen, any_colour, like

_SKY, _GRASS, _SEA, _ROAD = (150, 195, 235), (95, 140, 70), (40, 90, 140), (120, 120, 125)
_BLACK, _WHITE, _GLASS = (25, 25, 28), (240, 240, 240), (190, 215, 230)


def drawn_kind(label: str, rng: np.random.Generator, *, side: int = 32) -> np.ndarray:
    """Return a drawing `uint8 [side, side, 3]` of one of `scene.LABELS`.

    >>> drawn_kind("ship", np.random.default_rng(0)).shape
    (32, 32, 3)
    """
    shift = (float(rng.uniform(-0.06, 0.06)), float(rng.uniform(-0.05, 0.05)))
    pen = Pen(like(_SKY, rng, 25), side=side, shift=shift, scale=float(rng.uniform(0.85, 1.15)))
    _DRAWINGS[label](pen, rng)
    pixels = pen.pixels()
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def _ground(pen: Pen, colour: Colour, top: float) -> None:
    pen.box((-0.3, top), (1.3, 1.3), colour)


def _airplane(pen: Pen, rng: np.random.Generator) -> None:
    body = like((215, 218, 225), rng, 25)
    wing = like((150, 155, 165), rng)
    tail = any_colour(rng)
    pen.shape([(0.12, 0.52), (0.06, 0.3), (0.16, 0.3), (0.28, 0.5)], tail)
    pen.shape([(0.45, 0.5), (0.3, 0.22), (0.4, 0.22), (0.62, 0.5)], wing)
    pen.disc((0.52, 0.54), (0.42, 0.075), body)
    pen.shape([(0.45, 0.56), (0.28, 0.82), (0.4, 0.82), (0.64, 0.56)], wing)
    for x in np.linspace(0.3, 0.75, 7):
        pen.disc((float(x), 0.52), 0.012, (60, 70, 90))
    pen.disc((0.87, 0.52), (0.035, 0.02), _BLACK)


def _automobile(pen: Pen, rng: np.random.Generator) -> None:
    _ground(pen, like(_ROAD, rng), 0.62)
    paint = any_colour(rng, 20, 235)
    pen.shape([(0.26, 0.5), (0.36, 0.33), (0.64, 0.33), (0.77, 0.5)], paint)
    pen.shape([(0.31, 0.49), (0.38, 0.37), (0.49, 0.37), (0.49, 0.49)], _GLASS)
    pen.shape([(0.52, 0.49), (0.52, 0.37), (0.62, 0.37), (0.71, 0.49)], _GLASS)
    pen.shape(
        [(0.08, 0.69), (0.09, 0.53), (0.2, 0.48), (0.8, 0.48), (0.93, 0.55), (0.94, 0.69)], paint
    )
    pen.disc((0.92, 0.58), 0.025, (250, 240, 170))
    for x in (0.26, 0.75):
        pen.disc((x, 0.7), 0.1, _BLACK)
        pen.disc((x, 0.7), 0.045, (170, 170, 175))


def _bird(pen: Pen, rng: np.random.Generator) -> None:
    feathers = any_colour(rng, 40, 210)
    belly = like((215, 190, 150), rng, 25)
    pen.line([(-0.1, 0.84), (1.1, 0.79)], 0.05, (95, 70, 45))
    pen.line([(0.48, 0.68), (0.47, 0.82)], 0.02, (80, 60, 40))
    pen.line([(0.56, 0.68), (0.57, 0.82)], 0.02, (80, 60, 40))
    pen.shape([(0.3, 0.58), (0.04, 0.76), (0.1, 0.84), (0.42, 0.66)], like(feathers, rng, 30))
    pen.disc((0.5, 0.55), (0.22, 0.16), feathers)
    pen.disc((0.56, 0.61), (0.14, 0.1), belly)
    pen.disc((0.7, 0.38), 0.12, feathers)
    pen.shape([(0.8, 0.35), (0.95, 0.4), (0.8, 0.43)], (230, 160, 40))
    pen.disc((0.74, 0.36), 0.02, _BLACK)
    pen.shape([(0.34, 0.48), (0.55, 0.5), (0.24, 0.68)], like(feathers, rng, 45))


def _four_legs(pen: Pen, coat: Colour, *, top: float, foot: float, width: float) -> None:
    for x in (0.26, 0.35, 0.6, 0.69):
        pen.line([(x, top), (x, foot)], width, coat)


def _cat(pen: Pen, rng: np.random.Generator) -> None:
    _ground(pen, like((175, 150, 125), rng, 40), -0.3)
    coat = [(120, 105, 90), (205, 140, 75), (60, 58, 58), (190, 185, 180)][rng.integers(4)]
    coat = like(coat, rng)
    pen.line([(0.72, 0.9), (0.92, 0.8), (0.9, 0.58)], 0.07, coat)
    pen.disc((0.52, 0.82), (0.26, 0.3), coat)
    pen.shape([(0.27, 0.35), (0.29, 0.08), (0.46, 0.22)], coat)
    pen.shape([(0.77, 0.35), (0.75, 0.08), (0.58, 0.22)], coat)
    pen.disc((0.52, 0.38), (0.26, 0.22), coat)
    pen.disc((0.52, 0.47), (0.1, 0.07), like(_WHITE, rng, 12))
    for x in (0.42, 0.62):
        pen.disc((x, 0.36), (0.05, 0.045), (170, 200, 90))
        pen.disc((x, 0.36), (0.016, 0.04), _BLACK)
    pen.shape([(0.49, 0.44), (0.55, 0.44), (0.52, 0.48)], (200, 110, 110))


def _deer(pen: Pen, rng: np.random.Generator) -> None:
    _ground(pen, like((80, 110, 60), rng), -0.3)
    _ground(pen, like((130, 150, 80), rng), 0.68)
    coat = like((160, 110, 65), rng)
    _four_legs(pen, like(coat, rng), top=0.55, foot=0.92, width=0.045)
    pen.disc((0.47, 0.52), (0.27, 0.13), coat)
    pen.shape([(0.6, 0.5), (0.72, 0.24), (0.82, 0.28), (0.74, 0.58)], coat)
    pen.disc((0.81, 0.25), (0.1, 0.06), coat)
    horn = like((210, 190, 150), rng)
    for lean in (-0.12, 0.06):
        pen.line([(0.76, 0.2), (0.76 + lean, 0.04)], 0.025, horn)
        pen.line([(0.76 + lean / 2, 0.12), (0.76 + 1.6 * lean, 0.1)], 0.02, horn)
    pen.disc((0.21, 0.48), 0.035, _WHITE)
    pen.disc((0.83, 0.23), 0.012, _BLACK)


def _dog(pen: Pen, rng: np.random.Generator) -> None:
    _ground(pen, like(_GRASS, rng, 30), -0.3)
    coat = like([(185, 140, 90), (240, 235, 225), (90, 65, 45), (55, 52, 50)][rng.integers(4)], rng)
    ear = like((95, 65, 45), rng, 25)
    pen.disc((0.5, 0.92), (0.28, 0.3), coat)
    pen.disc((0.5, 0.42), (0.24, 0.25), coat)
    pen.disc((0.25, 0.42), (0.08, 0.2), ear)
    pen.disc((0.75, 0.42), (0.08, 0.2), ear)
    pen.disc((0.5, 0.55), (0.13, 0.12), like((235, 220, 200), rng))
    pen.disc((0.5, 0.5), (0.055, 0.04), _BLACK)
    for x in (0.4, 0.6):
        pen.disc((x, 0.37), 0.03, _BLACK)
    pen.shape([(0.46, 0.6), (0.54, 0.6), (0.52, 0.7), (0.48, 0.7)], (215, 100, 110))


def _frog(pen: Pen, rng: np.random.Generator) -> None:
    _ground(pen, like((110, 95, 70), rng, 35), -0.3)
    skin = like((90, 155, 55), rng, 30)
    pen.disc((0.5, 0.66), (0.34, 0.22), skin)
    pen.disc((0.18, 0.78), (0.14, 0.1), like(skin, rng))
    pen.disc((0.82, 0.78), (0.14, 0.1), like(skin, rng))
    pen.disc((0.5, 0.46), (0.28, 0.18), skin)
    for x in (0.31, 0.69):
        pen.disc((x, 0.31), 0.09, skin)
        pen.disc((x, 0.3), 0.055, (235, 215, 90))
        pen.disc((x, 0.3), 0.028, _BLACK)
    pen.line([(0.3, 0.5), (0.5, 0.55), (0.7, 0.5)], 0.02, (45, 80, 30))
    pen.disc((0.5, 0.75), (0.17, 0.1), like((200, 205, 140), rng))


def _horse(pen: Pen, rng: np.random.Generator) -> None:
    _ground(pen, like(_GRASS, rng), 0.62)
    coat = like(
        [(120, 70, 40), (70, 50, 40), (225, 220, 215), (160, 105, 60)][rng.integers(4)], rng
    )
    mane = like((40, 30, 25), rng)
    _four_legs(pen, like(coat, rng), top=0.55, foot=0.93, width=0.07)
    pen.disc((0.46, 0.5), (0.3, 0.16), coat)
    pen.line([(0.17, 0.45), (0.08, 0.75)], 0.06, mane)
    pen.shape([(0.58, 0.5), (0.68, 0.14), (0.82, 0.16), (0.76, 0.56)], coat)
    pen.line([(0.58, 0.42), (0.69, 0.12)], 0.06, mane)
    pen.shape([(0.7, 0.12), (0.8, 0.1), (0.97, 0.32), (0.88, 0.38), (0.74, 0.28)], coat)
    pen.shape([(0.7, 0.12), (0.73, 0.03), (0.77, 0.11)], coat)
    pen.disc((0.81, 0.19), 0.014, _BLACK)


def _ship(pen: Pen, rng: np.random.Generator) -> None:
    _ground(pen, like(_SEA, rng, 20), 0.66)
    hull = any_colour(rng, 10, 200)
    pen.box((0.32, 0.38), (0.66, 0.56), like(_WHITE, rng, 12))
    pen.box((0.4, 0.28), (0.56, 0.4), like(_WHITE, rng, 20))
    pen.box((0.45, 0.12), (0.53, 0.3), any_colour(rng))
    for x in (0.38, 0.46, 0.54, 0.62):
        pen.disc((x, 0.46), 0.018, (60, 80, 110))
    pen.line([(0.75, 0.55), (0.75, 0.22)], 0.02, (90, 90, 95))
    pen.shape([(0.05, 0.54), (0.97, 0.54), (0.84, 0.74), (0.17, 0.74)], hull)
    pen.line([(0.09, 0.6), (0.93, 0.6)], 0.02, _WHITE)
    for x in np.arange(-0.2, 1.2, 0.2):
        pen.line([(float(x), 0.78), (float(x) + 0.1, 0.8)], 0.02, (150, 185, 215))


def _truck(pen: Pen, rng: np.random.Generator) -> None:
    _ground(pen, like(_ROAD, rng), 0.66)
    load, cab = any_colour(rng, 60), any_colour(rng, 20, 235)
    pen.box((0.04, 0.2), (0.64, 0.68), load)
    pen.line([(0.04, 0.44), (0.64, 0.44)], 0.03, like(load, rng, 40))
    pen.shape([(0.66, 0.72), (0.66, 0.32), (0.84, 0.32), (0.95, 0.52), (0.95, 0.72)], cab)
    pen.shape([(0.72, 0.5), (0.72, 0.37), (0.82, 0.37), (0.89, 0.5)], _GLASS)
    pen.box((0.04, 0.68), (0.95, 0.74), _BLACK)
    for x in (0.17, 0.36, 0.8):
        pen.disc((x, 0.77), 0.09, _BLACK)
        pen.disc((x, 0.77), 0.04, (165, 165, 170))


_DRAWINGS: Mapping[str, Callable[[Pen, np.random.Generator], None]] = {
    "airplane": _airplane,
    "automobile": _automobile,
    "bird": _bird,
    "cat": _cat,
    "deer": _deer,
    "dog": _dog,
    "frog": _frog,
    "horse": _horse,
    "ship": _ship,
    "truck": _truck,
}
