"""Reads the windows of a mixture: each part's by a reader of its own, then put in their places."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import numpy as np

from dvse.dataset.batch_cut import BatchCut
from dvse.dataset.endless_stream import EndlessStream
from dvse.dataset.piece_reader import Filled, PieceReader
from dvse.dataset.schedule import Schedule
from dvse.dataset.shard_set import ShardSet
from dvse.storage.local_cache import LocalCache


@dataclass(frozen=True, kw_only=True)
class PartCut:
    """Which windows of one part a worker needs; stands where a `BatchCut` stands for one set.

    A step is a window here, and its number is the part's own. What lies behind `stop_window` is not
    read any more.
    """

    part: int
    schedule: Schedule
    cut: BatchCut
    stop_window: int
    batch_size: int = 1

    @property
    def share(self) -> int:
        """Number of this worker among all of all ranks."""
        return self.cut.share

    def windows(self, steps: np.ndarray) -> np.ndarray:
        """Return the first window of each step: itself."""
        return steps

    def is_mine(self, window: np.ndarray) -> np.ndarray:
        """Return for each window of the part whether a batch of this worker holds it."""
        is_mine = self.cut.is_mine(self.schedule.window(self.part, window))
        return is_mine & (window < self.stop_window)


class MixtureReader:
    """Holds a reader for each part.

    Args:
        sets, streams: of each part, its shards and windows.
        schedule: which part a window comes from.
        cut: whose batches.
        stop_window: where the reading will end.
        pad_id: of padding.
        use_cache: keep flat copies of the shards.
        cache: for copies of shards that lie in a store.
    """

    def __init__(
        self,
        sets: Sequence[ShardSet],
        streams: Sequence[EndlessStream],
        schedule: Schedule,
        cut: BatchCut,
        *,
        stop_window: int,
        pad_id: int,
        use_cache: bool,
        cache: LocalCache | None = None,
    ) -> None:
        counts = schedule.counts(stop_window)
        self._schedule, self._cut, self._length = schedule, cut, streams[0].length
        self._pad_id = pad_id
        self._id_dtype = np.result_type(
            *(shards.metadata.id_dtype for shards in sets), np.min_scalar_type(pad_id)
        )
        self._readers = [
            PieceReader(
                shards.paths,
                shards.row_lengths,
                stream.until(counts[part]),
                PartCut(part=part, schedule=schedule, cut=cut, stop_window=counts[part]),
                use_cache=use_cache,
                cache=cache,
            )
            for part, (shards, stream) in enumerate(zip(sets, streams, strict=True))
        ]
        self._stack = ExitStack()
        self._together = np.zeros(0, dtype=self._id_dtype)

    def __enter__(self) -> Self:
        for reader in self._readers:
            self._stack.enter_context(reader)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def read(self, steps: np.ndarray) -> tuple[np.ndarray, Filled]:
        """Return the ids of this worker's batches of some steps, and what stands in them.

        Args:
            steps: rising, each one of this worker's.

        Returns:
            Ids `int64 [N]`, a batch behind the other, padding included; and their pieces.

        Raises:
            ShardError: a shard cannot be read.
        """
        size, length = self._cut.batch_size, self._length
        windows = (self._cut.windows(steps)[:, None] + np.arange(size)).reshape(-1)
        part, number = self._schedule.places(windows)
        # Each part's windows lie together while they are filled, in a dtype as narrow as the
        # shards', and take their places in one go. The room for it is used again.
        ids = np.empty((len(windows), length), dtype=np.int64)
        if len(self._together) < ids.size:
            self._together = np.empty(ids.size, dtype=self._id_dtype)
        together = self._together[: ids.size]
        together.fill(self._pad_id)
        order = np.argsort(part, kind="stable")
        edges = np.searchsorted(part[order], np.arange(len(self._readers) + 1))
        starts, lengths, masks = [], [], []
        taken = [
            (reader, low, high)
            for reader, low, high in zip(self._readers, edges[:-1], edges[1:], strict=True)
            if low < high
        ]
        for reader, low, _ in taken:  # all side by side, before the first one is waited for
            reader.begin(number[order[low : low + 1]])
        for reader, low, high in taken:
            places = order[low:high]
            filled = reader.fill(together[low * length : high * length], number[places])
            window = filled.starts // length
            starts.append(filled.starts + (places[window] - window) * length)
            lengths.append(filled.lengths)
            if filled.mask is not None:
                masks.append((places, filled.mask))
        ids[order] = together.reshape(-1, length)
        pieces = np.concatenate(starts), np.concatenate(lengths)
        return ids.reshape(-1), _filled(*pieces, masks, len(windows), length)


def _filled(
    starts: np.ndarray,
    lengths: np.ndarray,
    masks: Sequence[tuple[np.ndarray, np.ndarray]],
    num_windows: int,
    length: int,
) -> Filled:
    """Pieces in rising order, as batches want them: parts have taken turns."""
    order = np.argsort(starts, kind="stable")
    mask = np.ones((num_windows, length), dtype=bool) if masks else None
    for places, of_part in masks:
        assert mask is not None
        mask[places] = of_part.reshape(-1, length)
    return Filled(
        starts=starts[order],
        lengths=lengths[order],
        mask=None if mask is None else mask.reshape(-1),
    )
