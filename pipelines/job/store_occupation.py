"""Who may work at a place in an object store: whoever likes, for markers are put conditionally.

A second job does no harm: of two writers of a partition one gets its marker in. Parts only spare
each other the work: one makes the plan while the others wait for it, or, should it be lost, for the
next one to make it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from dvse.errors import JobError
from dvse.remote.remote_path import RemotePath
from dvse.storage.atomic_file import create_atomically
from pipelines.job.beats import Heart, Watch
from pipelines.job.occupation import Occupation, PartPlace
from pipelines.job.part import Part
from pipelines.job.takeover import Claims

_PATIENCE_BEATS = 6


class StoreOccupation(Occupation):
    """No locks; the store is tried out instead.

    Args:
        output: of the job.

    Attributes:
        beat_s: seconds between two signs of life of a part, each of which is a request.
    """

    beat_s = 10.0

    def __init__(self, output: RemotePath) -> None:
        self._store = output

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """See that the store is there, takes what is written, and honours conditional puts.

        Raises:
            JobError: it overwrites what it was told not to, so two writers could spoil a shard.
            StorageError: no bucket, no credentials, no permission.
        """
        probe = self._store / ".job/condition"
        create_atomically(probe, b"taken\n")
        if create_atomically(probe, b"taken again\n"):
            raise JobError(
                f"--output {self._store}: the store overwrites an object in spite of "
                "If-None-Match, so that two writers could spoil a shard; use one that honours "
                "conditional puts"
            )
        yield

    @contextlib.contextmanager
    def of(self, part: Part, heart: Heart) -> Iterator[PartPlace]:
        """See that the store can be relied on, and beat.

        Raises:
            JobError, StorageError: as `alone`.
        """
        with self.alone(), heart.beating():
            yield StorePlace(self._store, heart, patience_s=_PATIENCE_BEATS * self.beat_s)


class StorePlace(PartPlace):
    """The first part to claim the plan makes it; there are no turns to sum up.

    Args:
        store: output of the job.
        heart: the signs of life of whoever has this place.
        patience_s: seconds without one after which whoever makes the plan is lost.
    """

    def __init__(self, store: RemotePath, heart: Heart, *, patience_s: float) -> None:
        self._job = store / ".job" / "job.json"
        self._look_s = heart.every_s / 10
        watch = Watch(store / ".job" / "parts", patience_s=patience_s)
        self._claims = Claims(store / ".job" / "plan", heart.owner, watch)

    @contextlib.contextmanager
    def turn(
        self, is_stopped: Callable[[], bool], meanwhile: Callable[[], object] = bool
    ) -> Iterator[bool]:
        """Wait until there is a plan, or nobody else who makes it."""
        if not (self._job.exists() or self._claims.take(0)):
            meanwhile()
        while not (has_come := self._job.exists() or self._claims.take(0)) and not is_stopped():
            time.sleep(self._look_s)
        yield has_come

    def take_if_empty(self) -> bool:
        """Whether there is no plan yet; a run without `--part` looks at the inputs again."""
        return not self._job.exists()

    def share(self) -> None:
        """Do nothing: nobody can be kept out."""

    def alive(self, heart: Heart) -> AbstractContextManager[None]:
        """Do nothing: the heart has been beating since the place was taken."""
        return contextlib.nullcontext()
