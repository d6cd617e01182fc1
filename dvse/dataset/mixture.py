"""Several sets of token shards in given shares: `Mixture`.

    set a ─ endless windows ─┐
    set b ─ endless windows ─┼─ schedule ─► windows [T] ─ cut ─► PackedBatch [B, T]
    set c ─ endless windows ─┘

A window comes from one set, and the schedule says from which. Both follow from seed, lengths and
shares alone; ranks and workers cut the windows up only afterwards, as in `TokenDataset`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from dvse.dataset.batch_cut import BatchCut
from dvse.dataset.batch_filling import cut_batches
from dvse.dataset.endless_stream import EndlessStream
from dvse.dataset.mixture_reader import MixtureReader
from dvse.dataset.packed_batch import PackedBatch
from dvse.dataset.packing import ContinuousPacking, Packing, WholePacking
from dvse.dataset.schedule import Schedule
from dvse.dataset.shard_set import ShardSet
from dvse.dataset.state_check import check_same_settings
from dvse.errors import ConfigError, ShardError
from dvse.storage.local_cache import LocalCache

MEASURES = ("tokens", "samples")

_IDS_TOGETHER = 1 << 19
_STATE_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class MixturePart:
    """A set of a mixture.

    Attributes:
        tokens: directory with shards.
        share: its weight; the shares of a mixture need not add up to 1.
        modalities: only rows of these.
    """

    tokens: str | Path
    share: float
    modalities: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class PartCount:
    """What some windows of a mixture hold of one part.

    Attributes:
        part: which.
        num_documents, num_ids: what there is of it.
        share: its share of the measure, of 1.
        num_windows, num_ids_read: what the windows hold; ids without padding.
        epochs: how often each of its documents stands in them.
    """

    part: MixturePart
    num_documents: int
    num_ids: int
    share: float
    num_windows: int
    num_ids_read: int
    epochs: float


class Mixture(IterableDataset[PackedBatch]):
    """Packed batches of several sets in given shares, mixed window by window.

    One pass gives `num_ids` ids; the next one goes on behind it. A small set begins again as often
    as its share asks for (`counts` says how often), each time mixed anew.

    Args:
        parts: `MixturePart`s, or pairs of directory and share.
        by: what the shares are of. `tokens`: after any number of windows each part has had its
            share of the ids up to fewer windows than there are parts. `samples`: of the
            documents, over whole epochs of each set. With `keep_whole` shares of `tokens` are met
            over whole epochs, too, as padding differs from window to window.
        num_ids: ids of a pass, padding included; by default as many as all sets have together.
        batch_size, length, shuffle, seed, keep_whole, rank, num_ranks, pad_id, use_cache, cache:
            as in `TokenDataset`.

    Raises:
        ShardError: no shards, or corrupt ones.
        ConfigError: sets of different bundles, or a setting outside its range.

    >>> mixture = Mixture([("books", 0.7), ("speech", 0.3)], length=1024)  # doctest: +SKIP
    >>> for batch in mixture:  # doctest: +SKIP
    ...     loss = model(batch.input_ids, labels=batch.labels, position_ids=batch.position_ids)
    """

    def __init__(
        self,
        parts: Sequence[MixturePart | tuple[str | Path, float]],
        *,
        by: str = "tokens",
        num_ids: int | None = None,
        batch_size: int = 8,
        length: int = 2048,
        shuffle: bool = True,
        seed: int = 0,
        keep_whole: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
        pad_id: int = 0,
        use_cache: bool = True,
        cache: LocalCache | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or not 0 <= rank < num_ranks:
            raise ConfigError(
                "expected a batch size of at least 1 and 0 <= rank < num_ranks, received "
                f"{batch_size}, {rank}, {num_ranks}"
            )
        if by not in MEASURES:
            raise ConfigError(f"expected by one of {', '.join(MEASURES)}, received {by!r}")
        self.parts = tuple(p if isinstance(p, MixturePart) else _part(p) for p in parts)
        self.by, self.batch_size, self.length, self.cache = by, batch_size, length, cache
        self.rank, self.num_ranks, self.pad_id, self.use_cache = rank, num_ranks, pad_id, use_cache
        self._packing: Packing = (WholePacking if keep_whole else ContinuousPacking)(length)
        self._sets = [ShardSet(part.tokens, part.modalities) for part in self.parts]
        _check_bundles(self.parts, self._sets)
        _check_filled(self.parts, self._sets)
        self._streams = [
            EndlessStream(shards.lengths, self._packing, seed=seed + number, shuffle=shuffle)
            for number, shards in enumerate(self._sets)
        ]
        self._schedule = Schedule(self._weights())
        self.num_ids = sum(s.num_ids for s in self._sets) if num_ids is None else num_ids
        if self.num_ids < length:
            raise ConfigError(
                f"expected num_ids of at least one window of {length}, received {self.num_ids}; "
                "choose shorter windows, or more ids"
            )
        self._seed, self._shuffle = seed, shuffle
        # The windows used before this pass, and the batches that it has given since.
        self._first_window = self._num_given = 0

    def __len__(self) -> int:
        """Batches of this pass, all workers of this rank together."""
        size = self.batch_size * self.num_ranks
        return -(-(self._pass_end() - self._first_window) // size)

    def __iter__(self) -> Iterator[PackedBatch]:
        """Yield the rest of the pass; the next call goes on behind it."""
        self._go_on()
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        cut = self._cut(worker, num_workers)
        steps = np.arange(worker, len(self), num_workers)
        together = max(1, _IDS_TOGETHER // (self.batch_size * self.length))
        with MixtureReader(
            self._sets,
            self._streams,
            self._schedule,
            cut,
            stop_window=cut.window_after(len(self)),
            pad_id=self.pad_id,
            use_cache=self.use_cache,
            cache=self.cache,
        ) as reader:
            for first in range(0, len(steps), together):
                some = steps[first : first + together]
                ids, filled = reader.read(some)
                for batch in cut_batches(
                    ids, filled, batch_size=self.batch_size, length=self.length
                ):
                    self._num_given += info is None
                    yield batch

    def counts(self, num_windows: int | None = None) -> list[PartCount]:
        """Return what the first windows hold of each part; by default those of one pass."""
        windows = self._windows_a_pass() if num_windows is None else num_windows
        total = sum(part.share for part in self.parts)
        found = []
        for part, shards, stream, count in zip(
            self.parts, self._sets, self._streams, self._schedule.counts(windows), strict=True
        ):
            epochs = count * self.length / stream.epoch_length
            found.append(
                PartCount(
                    part=part,
                    num_documents=shards.num_documents,
                    num_ids=shards.num_ids,
                    share=part.share / total,
                    num_windows=count,
                    num_ids_read=round(epochs * shards.num_ids),
                    epochs=epochs,
                )
            )
        return found

    def ids_by_modality(self, num_windows: int | None = None) -> dict[str, int]:
        """Return how many ids of each modality the first windows hold (of one pass by default).

        Whole epochs are counted exactly; the rows of the last one are taken as its average.
        """
        found: dict[str, int] = {}
        for count, shards in zip(self.counts(num_windows), self._sets, strict=True):
            for modality, num_ids in shards.ids_by_modality().items():
                found[modality] = found.get(modality, 0) + round(num_ids * count.epochs)
        return found

    def state_dict(self, num_batches: int | None = None) -> dict[str, Any]:
        """Return where the next pass would begin, as a few lines of JSON.

        Any number of ranks and workers, and any batch size, goes on from it exactly.

        Args:
            num_batches: batches that this rank has used since the pass began; needed with a
                DataLoader's workers, which iterate over copies. By default what this object has
                given itself.
        """
        used = self._num_given if num_batches is None else num_batches
        return {
            "version": _STATE_VERSION,
            "num_windows": self._cut().window_after(used),
            "settings": self._settings(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ConfigError: it was taken under other settings, shares or shards.
        """
        check_same_settings(state["settings"], self._settings(), what="mixture")
        self._first_window, self._num_given = state["num_windows"], 0

    def _weights(self) -> list[Fraction]:
        """Windows that each part should have, from its share and what a window holds of it."""
        weights = []
        for part, shards, stream in zip(self.parts, self._sets, self._streams, strict=True):
            if part.share <= 0:
                raise ConfigError(f"{part.tokens}: expected a share above 0, received {part.share}")
            held = shards.num_ids if self.by == "tokens" else shards.num_documents
            weights.append(Fraction(str(part.share)) * Fraction(stream.epoch_length, held))
        return weights

    def _settings(self) -> dict[str, Any]:
        """What decides the order of the windows."""
        return {
            "length": self.length,
            "shuffle": self._shuffle,
            "seed": self._seed,
            "packing": type(self._packing).__name__,
            "weights": self._schedule.weights,
            "sets": [[shards.sha256(), list(shards.modalities or ())] for shards in self._sets],
        }

    def _windows_a_pass(self) -> int:
        return -(-self.num_ids // self.length)

    def _pass_end(self) -> int:
        size = self._windows_a_pass()
        return (self._first_window // size + 1) * size

    def _go_on(self) -> None:
        """Begin a pass where the last one was left."""
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


def _part(pair: tuple[str | Path, float]) -> MixturePart:
    tokens, share = pair
    return MixturePart(tokens=tokens, share=share)


def _check_filled(parts: Sequence[MixturePart], sets: Sequence[ShardSet]) -> None:
    for part, shards in zip(parts, sets, strict=True):
        if not shards.num_ids:
            kind = "" if part.modalities is None else f" ({', '.join(part.modalities)})"
            raise ShardError(
                f"{part.tokens}{kind}: expected at least one row with ids, found none; leave it out"
            )


def _check_bundles(parts: Sequence[MixturePart], sets: Sequence[ShardSet]) -> None:
    if not parts:
        raise ConfigError("expected at least one set of token shards, received none")
    first = sets[0].metadata
    for part, shards in zip(parts, sets, strict=True):
        if shards.metadata.bundle_fingerprint != first.bundle_fingerprint:
            raise ConfigError(
                f"{part.tokens} was made with the bundle {shards.metadata.bundle!r} "
                f"({shards.metadata.bundle_fingerprint[:16]}…) and {parts[0].tokens} with "
                f"{first.bundle!r} ({first.bundle_fingerprint[:16]}…); their ids do not mean the "
                "same, tokenise one of them again"
            )
