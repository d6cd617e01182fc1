"""Chunks through a function in batches whose shape is fixed by a chunk's own shape.

Short batches are filled up with zeros, so neighbours never decide which kernel runs. How many rows
there are is the tokenizer's business, see `dvse.token_budget`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from dvse.chunk import Chunk

Shape: TypeAlias = tuple[int, ...]


def fixed_batches(
    shapes: Iterable[Shape], batch_rows: Callable[[Shape], int]
) -> Iterator[tuple[Shape, list[int]]]:
    """Yield `[rows, *shape]` of each batch, and whose rows come first in it; the rest is filled up.

    Args:
        shapes: of what is put into batches.
        batch_rows: rows of a batch of this shape.

    >>> list(fixed_batches([(2,), (3,), (2,), (2,)], lambda shape: 2))
    [((2, 2), [0, 2]), ((2, 2), [3]), ((2, 3), [1])]
    """
    by_shape: dict[Shape, list[int]] = {}
    for position, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(position)
    for shape, positions in by_shape.items():
        rows = batch_rows(shape)
        for start in range(0, len(positions), rows):
            yield (rows, *shape), positions[start : start + rows]


def map_batches(
    chunks: Sequence[Chunk],
    batch_rows: Callable[[Shape], int],
    function: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Return what `function` makes of each chunk, in order, without what it does not keep.

    Args:
        chunks: with arrays.
        batch_rows: rows of a batch of chunks of this shape.
        function: `[rows, *shape]` to `[rows, positions, ...]`.

    >>> small, large = np.ones(2), np.ones(3)
    >>> chunks = [Chunk(modality="audio", data=data) for data in (small, large, small)]
    >>> shapes = []
    >>> double = lambda batch: shapes.append(batch.shape) or 2 * batch
    >>> [found.tolist() for found in map_batches(chunks, lambda shape: 4, double)]
    [[2.0, 2.0], [2.0, 2.0, 2.0], [2.0, 2.0]]
    >>> shapes
    [(4, 2), (4, 3)]
    """
    results: dict[int, np.ndarray] = {}
    for shape, positions in fixed_batches((chunk.shape for chunk in chunks), batch_rows):
        filled = np.zeros(shape, np.asarray(chunks[positions[0]].data).dtype)
        for row, position in enumerate(positions):
            filled[row] = chunks[position].data
        values = function(filled)
        for row, position in enumerate(positions):
            kept = slice(*(chunks[position].keep or (None, None)))
            results[position] = values[row, kept].copy()
    return [results[position] for position in range(len(chunks))]
