"""Token shards as packed batches for training: `TokenDataset`.

    shards ─ shuffle ─► documents ─ packing ─► windows [T] ─ cut ─► PackedBatch [B, T]

The windows of an epoch have one order, which follows from the seed, the epoch and the lengths in
the shards' footers. Ranks and workers cut it up only afterwards. So they share the windows without
overlap and without talking to each other, each rank gives the same number of batches, and a run
goes on in the middle, with another number of ranks and workers too, without reading what came
before.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from dvse.dataset.batch_cut import BatchCut
from dvse.dataset.batch_filling import cut_batches
from dvse.dataset.epoch_order import EpochOrder
from dvse.dataset.packed_batch import PackedBatch
from dvse.dataset.packing import ContinuousPacking, Packing, WholePacking
from dvse.dataset.piece_reader import PieceReader
from dvse.dataset.shard_set import Shards, ShardSet
from dvse.dataset.state_check import check_same_settings
from dvse.dataset.window_stream import WindowStream
from dvse.errors import ConfigError, ShardError
from dvse.storage.local_cache import LocalCache

_IDS_TOGETHER = 1 << 18
_STATE_VERSION = 2


class TokenDataset(IterableDataset[PackedBatch]):
    """Packed batches of all token shards in a directory. One pass is one epoch.

    Every document is seen exactly once an epoch over all ranks and workers. All ranks take equally
    many steps: where the last step has too few windows, they are filled up with padding.

    Args:
        folder: directory with shards, here or in a store (`s3://…`), or a list of shard files.
        batch_size: windows a batch (B).
        length: ids a window (T).
        shuffle: mix documents; else input order.
        seed: of the shuffle; each epoch mixes anew.
        keep_whole: do not cut a document that fits into a window (costs padding).
        modalities: only rows of these modalities.
        rank, num_ranks: which share of the windows; the number of data-parallel processes.
        pad_id: id of padding.
        drop_last: leave out the last step where it is not full.
        use_cache: keep a flat copy of each shard in `.flat` beside it, which makes every later
            pass several times faster; without it every worker decodes every shard.
        cache: where copies of shards in a store are kept, and how much of them; by default 64 GiB
            in the user's cache folder.

    Raises:
        ShardError: no shards there, shards of different vocabularies, or a corrupt one.
        ConfigError: a setting outside its range.

    With a `DataLoader(dataset, batch_size=None, num_workers=…)` call `set_epoch` before each
    epoch, as its workers iterate over copies. torchdata's `StatefulDataLoader` goes on from its
    own state, with as many workers.

    >>> for batch in TokenDataset("tokens", batch_size=4, length=1024):  # doctest: +SKIP
    ...     loss = model(batch.input_ids, labels=batch.labels, position_ids=batch.position_ids)
    """

    def __init__(
        self,
        folder: Shards,
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
        cache: LocalCache | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or not 0 <= rank < num_ranks:
            raise ConfigError(
                "expected a batch size of at least 1 and 0 <= rank < num_ranks, received "
                f"{batch_size}, {rank}, {num_ranks}"
            )
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.rank, self.num_ranks = rank, num_ranks
        self.pad_id, self.drop_last = pad_id, drop_last
        self.use_cache, self.cache = use_cache, cache
        self.modalities = None if modalities is None else tuple(modalities)
        self._packing: Packing = (WholePacking if keep_whole else ContinuousPacking)(length)
        self._shards = ShardSet(folder, self.modalities)
        # The windows used before this pass, and the batches that it has given since.
        self._epoch = self._first_window = self._num_given = 0
        # In a worker: the batches of its own that it has given, and those before it was resumed.
        self._num_by_worker, self._is_through = 0, False
        self._resumed: tuple[int, int, int] | None = None
        self._known: tuple[int, WindowStream] | None = None

    @property
    def length(self) -> int:
        """Ids a window (T)."""
        return self._packing.length

    @property
    def num_documents(self) -> int:
        """Rows of all shards (of the chosen modalities)."""
        return self._shards.num_documents

    @property
    def num_ids(self) -> int:
        """Ids of all rows."""
        return self._shards.num_ids

    def __len__(self) -> int:
        """Batches of this pass, all workers of this rank together: what a `DataLoader` gives.

        After `load_state_dict` it is the rest of the epoch.
        """
        return self._num_steps(self._cut())

    def __iter__(self) -> Iterator[PackedBatch]:
        """Yield the rest of the epoch, then go on to the next one on the next call."""
        self._go_on()
        info = get_worker_info()
        yield from self._pass(*((info.id, info.num_workers) if info else (0, 1)))

    def endless(self) -> Iterator[PackedBatch]:
        """Yield the rest of the epoch and all later ones, without end.

        Under a `DataLoader`'s workers too the batches come in the order of one process.

        Raises:
            ShardError: an epoch has no batch at all.
        """
        self._go_on()
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        while True:
            num_steps = len(self)
            if not num_steps and not self._first_window:
                raise ShardError("expected at least one batch an epoch, received too few ids")
            yield from self._pass(worker, num_workers)
            if self._is_through:
                self.set_epoch(self._epoch + 1)
            # The loader goes on with the worker whose turn it is.
            worker = (worker - num_steps) % num_workers

    def set_epoch(self, epoch: int) -> None:
        """Begin the next pass with this epoch, at its first batch."""
        self._epoch, self._first_window, self._num_given = epoch, 0, 0
        self._num_by_worker, self._is_through, self._resumed = 0, False, None

    def seek(self, num_batches: int) -> None:
        """Begin the next pass where a run stands whose ranks have taken so many batches each.

        Args:
            num_batches: counted from the first batch of epoch 0, epoch after epoch, with as many
                ranks as now.
        """
        self.set_epoch(0)
        while num_batches >= (num_steps := len(self)) > 0:
            num_batches -= num_steps
            self.set_epoch(self._epoch + 1)
        self._first_window = self._cut().window_after(num_batches)

    def state_dict(self, num_batches: int | None = None) -> dict[str, Any]:
        """Return where the next pass would begin, as a few lines of JSON.

        Any number of ranks and workers, and any batch size, goes on from it exactly.

        Args:
            num_batches: batches that this rank has used since the pass began; needed with a
                DataLoader's workers, which iterate over copies. By default what this object has
                given itself; in a worker (a `StatefulDataLoader` asks there) what that has given.
        """
        used = self._num_given if num_batches is None else num_batches
        info = get_worker_info() if num_batches is None else None
        given = {"worker": [info.id, info.num_workers, self._num_by_worker]} if info else {}
        return {
            "version": _STATE_VERSION,
            "epoch": self._epoch,
            "num_windows": self._cut().window_after(used),
            "settings": self._settings,
            **given,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ConfigError: it was taken under other settings or on other shards.
        """
        if state.get("version") != _STATE_VERSION:
            raise ConfigError(
                "the state was taken by another version of DVSE, whose order of windows was "
                "another one; begin an epoch with set_epoch instead"
            )
        check_same_settings(state["settings"], self._settings, what="data set")
        self.set_epoch(state["epoch"])
        self._first_window = state["num_windows"]
        if "worker" in state:
            worker, num_workers, self._num_by_worker = state["worker"]
            self._resumed = worker, num_workers, self._num_by_worker

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What decides the order of the windows."""
        return {
            "length": self.length,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "packing": type(self._packing).__name__,
            "modalities": self.modalities and list(self.modalities),
            "num_shards": len(self._shards.paths),
            "num_ids": self.num_ids,
            "shards_sha256": self._shards.sha256(),
        }

    def _go_on(self) -> None:
        """Begin a pass where the last one was left."""
        if self._is_through:
            self.set_epoch(self._epoch + 1)
        self._first_window, self._num_given = self._cut().window_after(self._num_given), 0

    def _cut(self, worker: int = 0, num_workers: int = 1) -> BatchCut:
        return BatchCut(
            first_window=self._first_window,
            batch_size=self.batch_size,
            rank=self.rank,
            num_ranks=self.num_ranks,
            worker=worker,
            num_workers=num_workers,
        )

    def _num_steps(self, cut: BatchCut) -> int:
        return cut.num_steps(self._stream().num_windows, drop_last=self.drop_last)

    def _stream(self) -> WindowStream:
        """The windows of this epoch."""
        if self._known is None or self._known[0] != self._epoch:
            order = EpochOrder(
                self._shards.lengths, seed=self.seed, epoch=self._epoch, shuffle=self.shuffle
            )
            self._known = self._epoch, WindowStream(order, self._packing)
        return self._known[1]

    def _pass(self, worker: int, num_workers: int) -> Iterator[PackedBatch]:
        """Yield a worker's batches of the rest of the epoch, and stand at the next one."""
        cut, stream = self._cut(worker, num_workers), self._stream()
        steps = np.arange(worker, self._num_steps(cut), num_workers)
        steps = steps[self._num_before(worker, num_workers) :]
        together = max(1, _IDS_TOGETHER // (self.batch_size * self.length))
        is_counted = get_worker_info() is None
        with PieceReader(
            self._shards.paths,
            self._shards.row_lengths,
            stream,
            cut,
            use_cache=self.use_cache,
            cache=self.cache,
        ) as reader:
            for first in range(0, len(steps), together):
                for batch in self._fill(reader, steps[first : first + together]):
                    self._num_given += is_counted
                    self._num_by_worker += not is_counted
                    yield batch
        if is_counted:
            self.set_epoch(self._epoch + 1)
        else:  # its state is that of this epoch until it is asked for the next
            self._is_through = True

    def _num_before(self, worker: int, num_workers: int) -> int:
        """Batches of a worker that it had given when its state was taken."""
        if self._resumed is None:
            return 0
        if self._resumed[:2] != (worker, num_workers):
            raise ConfigError(
                f"a loader's state with {self._resumed[1]} workers goes on with as many, not "
                f"{num_workers}; for another number take the data set's state_dict(num_batches)"
            )
        return self._resumed[2]

    def _fill(self, reader: PieceReader, steps: np.ndarray) -> Iterator[PackedBatch]:
        """Yield the batches of some steps; windows past the end are padding."""
        ids = np.full(len(steps) * self.batch_size * self.length, self.pad_id, dtype=np.int64)
        filled = reader.fill(ids, steps)
        return cut_batches(ids, filled, batch_size=self.batch_size, length=self.length)
