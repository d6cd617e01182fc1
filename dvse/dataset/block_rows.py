"""Rows of a block of shards in one array or in several, and stretches of them copied into another.

Knows no windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from dvse.dataset.flat_cache import FlatShard

# Ids a stretch from which copying one by one is faster than picking ids one by one; measured.
_SLICED_FROM = 192

_PAGE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows, and where they lie.

    Attributes:
        ids: arrays `[N_a]` in the shards' own dtypes.
        array: for each row, in which of them it lies, `int64 [R]`.
        offset: and where in it, `int64 [R]`.
        mask: loss mask of each id of the one array, `None` where no row has one.
    """

    ids: Sequence[np.ndarray]
    array: np.ndarray
    offset: np.ndarray
    mask: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Stretches:
    """Stretches of arrays: `array`, `begin` and `length`, `int64 [P]` each."""

    array: np.ndarray
    begin: np.ndarray
    length: np.ndarray

    def part(self, chosen: slice) -> Self:
        """Return some that lie side by side."""
        return type(self)(
            array=self.array[chosen], begin=self.begin[chosen], length=self.length[chosen]
        )


def are_long(lengths: np.ndarray) -> bool:
    """Whether stretches are copied one by one: from 192 ids on, in the mean."""
    return int(lengths.sum()) >= _SLICED_FROM * max(len(lengths), 1)


def gather(
    arrays: Sequence[np.ndarray],
    stretches: Stretches,
    *,
    out: np.ndarray,
    to: slice | np.ndarray,
) -> None:
    """Write stretches, end to end, into `out[to]`.

    >>> out = np.zeros(4, np.int64)
    >>> one, two = np.array([1, 0]), np.array([1, 2])
    >>> stretches = Stretches(array=one, begin=np.array([0, 2]), length=two)
    >>> gather([np.arange(9), np.array([7])], stretches, out=out, to=slice(0, 3))
    >>> out.tolist()
    [7, 2, 3, 0]
    """
    begins, lengths = stretches.begin, stretches.length
    if len(arrays) == 1 and not are_long(lengths):
        out[to] = arrays[0][runs(begins, lengths)]
        return
    if not len(lengths):
        return
    numbers, ends = stretches.array.tolist(), (begins + lengths).tolist()
    slices = [arrays[n][a:b] for n, a, b in zip(numbers, begins.tolist(), ends, strict=True)]
    # Without a copy in between, where no id has to be widened on the way.
    if isinstance(to, slice) and all(array.dtype == out.dtype for array in arrays):
        np.concatenate(slices, out=out[to])
    else:
        out[to] = np.concatenate(slices)


def where(target: np.ndarray, length: np.ndarray) -> slice | np.ndarray:
    """Return the places of stretches: a slice where they are one, which is copied much faster."""
    if not len(target):
        return slice(0, 0)
    if np.array_equal(target[:-1] + length[:-1], target[1:]):
        return slice(int(target[0]), int(target[-1] + length[-1]))
    return runs(target, length)


def runs(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the numbers begins[i] … begins[i]+lengths[i]-1 of all i, end to end."""
    ends = np.cumsum(lengths)
    numbers = np.repeat(begins - (ends - lengths), lengths)
    numbers += np.arange(len(numbers))
    return numbers


def joined(flats: Sequence[FlatShard]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the ids and loss masks of some shards end to end."""
    mask = None
    if any(flat.mask is not None for flat in flats):
        masks = [np.ones(len(f.ids), bool) if f.mask is None else f.mask for f in flats]
        mask = np.concatenate(masks)
    ids = np.concatenate([f.ids for f in flats]) if flats else np.zeros(0, dtype=np.uint16)
    return ids, mask


def paged_in(ids: np.ndarray) -> np.ndarray:
    """Return a map, read from the disk, as a plain array, of which slices cost less."""
    plain = np.asarray(ids)
    if len(plain):
        plain[:: _PAGE_BYTES // plain.itemsize].max()
    return plain
