"""Chunks through a function in batches whose shape is fixed by a chunk's own shape.

Short batches are filled up with zeros, so neighbours never decide which kernel runs.
"""

from collections.abc import Callable, Sequence

import numpy as np

from dvse.chunk import Chunk


def map_batches(
    chunks: Sequence[Chunk],
    batch_rows: Callable[[tuple[int, ...]], int],
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
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for position, chunk in enumerate(chunks):
        by_shape.setdefault(chunk.shape, []).append(position)
    results: dict[int, np.ndarray] = {}
    for shape, positions in by_shape.items():
        rows = batch_rows(shape)
        for start in range(0, len(positions), rows):
            batch = positions[start : start + rows]
            filled = np.zeros((rows, *shape), np.asarray(chunks[batch[0]].data).dtype)
            for row, position in enumerate(batch):
                filled[row] = chunks[position].data
            values = function(filled)
            for row, position in enumerate(batch):
                kept = slice(*(chunks[position].keep or (None, None)))
                results[position] = values[row, kept].copy()
    return [results[position] for position in range(len(chunks))]
