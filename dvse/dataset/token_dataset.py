"""Token shards as packed batches for training: `TokenDataset`.

    shards ─ shuffle ─► documents ─ packing ─► windows [T] ─► PackedBatch [B, T]

The order of an epoch follows from the seed, the epoch and the lengths in the shards' footers. So
ranks and workers share the documents without overlap and without talking to each other, each
gives the same number of batches, and a run goes on in the middle without reading what came
before.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from dvse.dataset.epoch_order import EpochOrder, Share, epoch_order
from dvse.dataset.packed_batch import PackedBatch
from dvse.dataset.packing import ContinuousPacking, Layout, Packing, WholePacking
from dvse.dataset.piece_reader import PieceReader
from dvse.errors import ConfigError, ShardError
from dvse.storage.shard import PATTERN, read_metadata, read_shard

_IDS_TOGETHER = 1 << 18


class TokenDataset(IterableDataset[PackedBatch]):
    """Packed batches of all token shards in a directory. One pass is one epoch.

    Every document is seen exactly once an epoch over all ranks and workers. Where their shares
    differ, the shorter ones end with batches of padding, so that all take equally many steps.

    Args:
        folder: directory with shards, or a list of shard files.
        batch_size: windows a batch (B).
        length: ids a window (T).
        shuffle: mix documents; else input order.
        seed: of the shuffle; each epoch mixes anew.
        keep_whole: do not cut a document that fits into a window (costs padding).
        modalities: only rows of these modalities.
        rank, num_ranks: which share of the documents; the number of data-parallel processes.
        pad_id: id of padding.
        drop_last: leave out the last batch where it is not full.
        use_cache: keep a flat copy of each shard in `.flat` beside it, which makes every later
            pass several times faster.

    Raises:
        ShardError: no shards there, shards of different vocabularies, or a corrupt one.
        ConfigError: a setting outside its range.

    With a `DataLoader(dataset, batch_size=None, num_workers=…)` call `set_epoch` before each
    epoch, as its workers iterate over copies.

    >>> for batch in TokenDataset("tokens", batch_size=4, length=1024):  # doctest: +SKIP
    ...     loss = model(batch.input_ids, labels=batch.labels, position_ids=batch.position_ids)
    """

    def __init__(
        self,
        folder: str | Path | Sequence[str | Path],
        *,
        batch_size: int = 8,
        length: int = 2048,
        shuffle: bool = True,
        seed: int = 0,
        keep_whole: bool = False,
        modalities: Sequence[str] | None = None,
        rank: int = 0,
        num_ranks: int = 1,
        pad_id: int = 0,
        drop_last: bool = False,
        use_cache: bool = True,
    ) -> None:
        super().__init__()
        if batch_size < 1 or not 0 <= rank < num_ranks:
            raise ConfigError(
                "expected a batch size of at least 1 and 0 <= rank < num_ranks, received "
                f"{batch_size}, {rank}, {num_ranks}"
            )
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.rank, self.num_ranks = rank, num_ranks
        self.pad_id, self.drop_last, self.use_cache = pad_id, drop_last, use_cache
        self.modalities = None if modalities is None else tuple(modalities)
        self._packing: Packing = (WholePacking if keep_whole else ContinuousPacking)(length)
        self._paths = _find_shards(folder)
        self._row_lengths = self._read_lengths()
        self._lengths = self._chosen_lengths()
        self._epoch = self._num_batches = 0

    @property
    def length(self) -> int:
        """Ids a window (T)."""
        return self._packing.length

    @property
    def num_documents(self) -> int:
        """Rows of all shards (of the chosen modalities)."""
        return sum(int((lengths > 0).sum()) for lengths in self._lengths)

    @property
    def num_ids(self) -> int:
        """Ids of all rows."""
        return sum(int(lengths.sum()) for lengths in self._lengths)

    def __len__(self) -> int:
        """Batches that this rank gives in one epoch, all its workers together (of one worker)."""
        return self._steps(Share(self.rank, self.num_ranks, 0, 1))

    def __iter__(self) -> Iterator[PackedBatch]:
        """Yield the rest of the epoch, then go on to the next one on the next call."""
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        # A DataLoader begins with its worker 0; after k batches it is the turn of share k mod n.
        turn = (worker + self._num_batches) % num_workers
        share = Share(self.rank, self.num_ranks, turn, num_workers)
        mine = -(-max(self._num_batches - turn, 0) // num_workers)
        for batch in self._batches(share, skip=mine):
            mine += 1
            if info is None:
                self._num_batches = mine
            yield batch
        self._epoch, self._num_batches = self._epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """Begin the next pass with this epoch, at its first batch."""
        self._epoch, self._num_batches = epoch, 0

    def state_dict(self, num_batches: int | None = None) -> dict[str, Any]:
        """Return where the next pass would begin, as JSON.

        Args:
            num_batches: batches of this epoch that this rank has used; needed with a DataLoader's
                workers, which iterate over copies. By default what this object has given itself.
        """
        used = self._num_batches if num_batches is None else num_batches
        return {"epoch": self._epoch, "num_batches": used, "settings": self._settings}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ConfigError: it was taken under other settings or on other shards.
        """
        if state["settings"] != self._settings:
            theirs = state["settings"]
            differing = [
                f"{key}: {theirs.get(key)!r} then, {value!r} now"
                for key, value in self._settings.items()
                if theirs.get(key) != value
            ]
            raise ConfigError("the state belongs to another data set; " + ", ".join(differing))
        self._epoch, self._num_batches = state["epoch"], state["num_batches"]

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "length": self.length,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "packing": type(self._packing).__name__,
            "modalities": self.modalities and list(self.modalities),
            "num_ranks": self.num_ranks,
            "shards": [path.name for path in self._paths],
            "num_ids": self.num_ids,
        }

    def _read_lengths(self) -> list[np.ndarray]:
        """Ids of each row of each shard."""
        vocabularies: dict[str, Path] = {}
        lengths = []
        for path in self._paths:
            metadata = read_metadata(path)
            vocabularies.setdefault(metadata.vocabulary_fingerprint, path)
            if len(vocabularies) > 1:
                first, second = vocabularies.values()
                raise ShardError(
                    f"{first.name} and {second.name} were written with different vocabularies; "
                    "their ids mean different things, so read them apart"
                )
            lengths.append(metadata.lengths)
        return lengths

    def _chosen_lengths(self) -> list[np.ndarray]:
        """The same, 0 where the modality was not chosen."""
        if self.modalities is None:
            return self._row_lengths
        chosen = []
        for path, lengths in zip(self._paths, self._row_lengths, strict=True):
            column = read_shard(path, columns=["modality"])["modality"].to_numpy()
            chosen.append(np.where(np.isin(column.astype(str), self.modalities), lengths, 0))
        return chosen

    def _batches(self, share: Share, *, skip: int) -> Iterator[PackedBatch]:
        order = self._order(share)
        layout = self._packing.lay_out(order.lengths)
        with PieceReader(self._paths, self._row_lengths, order, use_cache=self.use_cache) as reader:
            # Several batches are laid out in one go: array operations cost as much a call as for
            # ten thousand ids.
            together = max(1, _IDS_TOGETHER // (self.batch_size * self.length))
            steps = self._steps(share, layout)
            for step in range(skip, steps, together):
                yield from self._fill(layout, reader, step, min(together, steps - step))

    def _steps(self, share: Share, layout: Layout | None = None) -> int:
        """Batches that every rank and worker gives: as many as the largest share has."""
        most = layout.num_windows if layout is not None else 0
        if layout is None or share.count > 1:
            for other in share.all_shares():
                most = max(most, self._packing.lay_out(self._order(other).lengths).num_windows)
        return most // self.batch_size if self.drop_last else -(-most // self.batch_size)

    def _order(self, share: Share) -> EpochOrder:
        return epoch_order(
            self._lengths, share, seed=self.seed, epoch=self._epoch, shuffle=self.shuffle
        )

    def _fill(
        self, layout: Layout, reader: PieceReader, step: int, num_steps: int
    ) -> Iterator[PackedBatch]:
        """Yield the batches of some steps; windows past the end are padding."""
        size, width = num_steps * self.batch_size, self.length
        first = min(step * self.batch_size, layout.num_windows)
        stop = min(step * self.batch_size + size, layout.num_windows)
        edges = layout.first_piece[first : stop + 1]
        pieces = slice(int(edges[0]), int(edges[-1]))
        length = layout.length[pieces]
        # Pieces stand end to end in their window; what is left of it is padding.
        ends = np.append(0, np.cumsum(length))
        before = ends[edges - pieces.start]
        filled = np.zeros(size, dtype=np.int64)
        filled[: stop - first] = np.diff(before)
        shift = np.arange(stop - first) * width - before[:-1]
        target = ends[:-1] + np.repeat(shift, np.diff(edges))
        ids = np.full(size * width, self.pad_id, dtype=np.int64)
        mask = reader.fill(ids, layout.document[pieces], layout.start[pieces], length, target)
        padding = (np.arange(size) * width + filled)[filled < width]
        starts = np.concatenate([target, padding])
        order = np.argsort(starts, kind="stable")
        starts, is_padding = starts[order], order >= len(target)
        batch_ids = self.batch_size * width
        cuts = np.searchsorted(starts, np.arange(num_steps + 1) * batch_ids)
        for number in range(num_steps):
            mine = slice(cuts[number], cuts[number + 1])
            flat = slice(number * batch_ids, (number + 1) * batch_ids)
            shape = (self.batch_size, width)
            yield PackedBatch(
                input_ids=torch.from_numpy(ids[flat].reshape(shape)),
                piece_starts=torch.from_numpy(starts[mine] - flat.start),
                is_padding=torch.from_numpy(is_padding[mine]),
                row_mask=None if mask is None else torch.from_numpy(mask[flat].reshape(shape)),
            )


def _find_shards(folder: str | Path | Sequence[str | Path]) -> list[Path]:
    if isinstance(folder, str | Path):
        paths = sorted(Path(folder).glob(PATTERN))
        if not paths:
            raise ShardError(f"{folder}: expected {PATTERN} written by dvse tokenize, found none")
        return paths
    paths = [Path(path) for path in folder]
    if not paths:
        raise ShardError("expected at least one shard, received an empty list")
    return paths
