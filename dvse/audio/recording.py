"""What every reader of recordings gives: a rate and blocks of samples, all channels apart."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BLOCK_VALUES = 1 << 18
"""Samples of all channels together that are read at a time."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording that is being read.

    Attributes:
        name: how messages call it.
        sample_rate_hz: of the file or array.
        blocks: float32 [n, channels] in order; reading them raises `InputError`s.
    """

    name: str
    sample_rate_hz: int
    blocks: Iterator[np.ndarray]


def block_size(num_channels: int) -> int:
    """Return how many samples per channel are read at a time.

    >>> block_size(2)
    131072
    """
    return max(1024, BLOCK_VALUES // num_channels)


def full_scale(block: np.ndarray) -> np.ndarray:
    """Return float32 in [-1, 1) of integers (unsigned ones are centred); floats as they are.

    >>> full_scale(np.array([0, 64, 128], np.uint8)).tolist()
    [-1.0, -0.5, 0.0]
    """
    if block.dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large a float64 becomes inf, which is refused
            return block.astype(np.float32)
    half = 2.0 ** (8 * block.dtype.itemsize - 1)
    centre = half if block.dtype.kind == "u" else 0.0
    return ((block.astype(np.float64) - centre) / half).astype(np.float32)


def num_samples(seconds: float, rate_hz: int) -> int:
    """Return how many samples a time stands for; halves are rounded up.

    >>> num_samples(0.5, 16000), num_samples(0.00003125, 16000)
    (8000, 1)
    """
    return math.floor(round(seconds * rate_hz, 8) + 0.5)


def without_first(blocks: Iterator[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """Yield the blocks without the first samples: where a decoder needs what came before.

    >>> [b.tolist() for b in without_first(iter([np.arange(3), np.arange(2)]), 2)]
    [[2], [0, 1]]
    """
    for block in blocks:
        if len(block) > count:
            yield block[count:]
        count = max(0, count - len(block))
