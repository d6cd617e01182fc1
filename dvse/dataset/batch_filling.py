"""Batches out of filled windows: what is left of a window is padding."""

from collections.abc import Iterator

import numpy as np
import torch

from dvse.dataset.packed_batch import PackedBatch
from dvse.dataset.piece_reader import Filled


def cut_batches(
    ids: np.ndarray, filled: Filled, *, batch_size: int, length: int
) -> Iterator[PackedBatch]:
    """Yield the batches of windows that were filled in one go.

    Several at once, because array operations cost as much a call as for ten thousand ids.

    Args:
        ids: `int64 [num_batches · batch_size · length]`, padding included.
        filled: what stands in it; pieces end to end from the beginning of their window.
        batch_size, length: windows a batch and ids a window.
    """
    num_windows = len(ids) // length
    num_batches = num_windows // batch_size
    used = np.bincount(filled.starts // length, filled.lengths, num_windows).astype(np.int64)
    padding = (np.arange(num_windows) * length + used)[used < length]
    starts, is_padding = filled.starts, np.zeros(len(filled.starts), dtype=bool)
    if len(padding):
        starts = np.concatenate([starts, padding])
        order = np.argsort(starts, kind="stable")
        starts, is_padding = starts[order], order >= len(filled.starts)
    batch_ids = batch_size * length
    cuts = np.searchsorted(starts, np.arange(num_batches + 1) * batch_ids)
    mask, shape = filled.mask, (batch_size, length)
    for number in range(num_batches):
        mine = slice(cuts[number], cuts[number + 1])
        flat = slice(number * batch_ids, (number + 1) * batch_ids)
        yield PackedBatch(
            input_ids=torch.from_numpy(ids[flat].reshape(shape)),
            piece_starts=torch.from_numpy(starts[mine] - flat.start),
            is_padding=torch.from_numpy(is_padding[mine]),
            row_mask=None if mask is None else torch.from_numpy(mask[flat].reshape(shape)),
        )
