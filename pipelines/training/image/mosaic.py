"""Shifted, mirrored and tiled pictures: what a codebook sees in training instead of the originals.

Mosaics (several pictures side by side) show the encoder grids larger than one picture's, so that
it can tokenise larger pictures later.
"""

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Tiles: TypeAlias = tuple[int, int]
MOSAICS: tuple[Tiles, ...] = ((2, 2), (1, 2), (2, 1))


def shift_and_mirror(
    pixels: np.ndarray, rng: np.random.Generator, *, margin: int = 4
) -> np.ndarray:
    """Move each picture by up to `margin` pixels (borders reflected) and mirror every second one.

    `uint8 [N, H, W, C]` both ways.
    """
    n, height, width, _ = pixels.shape
    margin = min(margin, height - 1, width - 1)
    padded = np.pad(pixels, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
    tops, lefts = rng.integers(0, 2 * margin + 1, (2, n))
    is_mirrored = np.less(rng.random(n), 0.5)
    moved = np.empty_like(pixels)
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        window = padded[i, top : top + height, left : left + width]
        moved[i] = window[:, ::-1] if is_mirrored[i] else window
    return moved


def cut_out(pixels: np.ndarray, rng: np.random.Generator, *, side: int) -> np.ndarray:
    """Grey out a square of each picture, which may lie half outside it.

    `uint8 [N, H, W, C]` both ways. Source: DeVries and Taylor 2017, "Improved Regularization of
    Convolutional Neural Networks with Cutout".
    """
    n, height, width, _ = pixels.shape
    is_cut = np.ones((n, height, width), bool)
    for axis, length in ((1, height), (2, width)):
        last = rng.integers(0, length + side - 1, (n, 1))
        places = np.arange(length)
        inside = (places > last - side) & (places <= last)
        is_cut &= np.expand_dims(inside, 3 - axis)
    return np.where(is_cut[..., None], np.uint8(128), pixels)


def blank_some(pictures: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Exchange each third picture by one colour, half of them grey.

    `uint8 [N, H, W, C]` to the same and `bool [N]`, which ones are blank.
    """
    n, channels = len(pictures), pictures.shape[-1]
    is_blank = torch.from_numpy(np.less(rng.random(n), 1 / 3))
    colours = rng.integers(0, 256, (n, channels), dtype=np.uint8)
    is_grey = np.less(rng.random(n), 0.5)
    colours[is_grey] = colours[is_grey, :1]
    black_or_white = np.less(rng.random(n), 0.5)
    colours[black_or_white] = np.where(colours[black_or_white, :1] < 128, 0, 255)
    blank = torch.from_numpy(colours)[:, None, None, :]
    return torch.where(is_blank[:, None, None, None], blank, pictures), is_blank


def tile(pictures: Tensor, tiles: Tiles) -> Tensor:
    """Put pictures side by side: `[N, H, W, C]` to `[N // (r * c), r * H, c * W, C]`.

    Pictures that fill no mosaic are dropped.

    >>> import torch
    >>> tile(torch.arange(4).reshape(4, 1, 1, 1), (2, 2))[0, :, :, 0].tolist()
    [[0, 1], [2, 3]]
    """
    rows, columns = tiles
    _, height, width, channels = pictures.shape
    count = len(pictures) // (rows * columns)
    grid = pictures[: count * rows * columns].reshape(count, rows, columns, height, width, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(count, rows * height, columns * width, channels)


def untile(maps: Tensor, tiles: Tiles) -> Tensor:
    """Cut mosaics into their tiles again, in order: the inverse of `tile`.

    >>> import torch
    >>> untile(torch.arange(4).reshape(1, 2, 2, 1), (1, 2))[:, :, 0, 0].tolist()
    [[0, 2], [1, 3]]
    """
    rows, columns = tiles
    count, height, width, channels = maps.shape
    grid = maps.reshape(count, rows, height // rows, columns, width // columns, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).flatten(0, 2)
