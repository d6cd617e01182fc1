"""Pictures that are drawn, the same pixels each time, and two photographs of scikit-learn's."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw


def _photograph(name: str) -> Image.Image:
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image(name))


def _shapes() -> Image.Image:
    picture = Image.new("RGB", (256, 256), "#dfeaf2")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 170, 256, 256), fill="#6f9d5c")
    draw.ellipse((170, 24, 226, 80), fill="#f2c14e")
    draw.rectangle((60, 110, 150, 200), fill="#b5543c")
    draw.polygon(((50, 110), (160, 110), (105, 62)), fill="#5b3a29")
    draw.rectangle((95, 150, 118, 200), fill="#f5efe6")
    return picture


def _gradient() -> Image.Image:
    y, x = np.mgrid[0:96, 0:192] / (96, 192)[0]
    pixels = np.stack([x / 2, y, 0.5 + 0.5 * np.sin(6 * x)], axis=-1)
    return Image.fromarray((pixels * 255).astype(np.uint8))


def _cut_out() -> Image.Image:
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((8, 8, 56, 56), fill=(46, 94, 170, 255))
    return picture


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "china.jpg": lambda: _photograph("china.jpg"),
    "flower.jpg": lambda: _photograph("flower.jpg"),
    "house.png": _shapes,
    "gradient.png": _gradient,
    "cut-out.png": _cut_out,
}
"""Name of the file → how its picture is made."""
