"""Who may work in the directory of a job: one whole job alone, or parts of one job together.

The system takes a lock back from a process that dies, so nobody waits for a dead one. Parts take
turns where only one may act: when the plan is made, and when results are summed up.
"""

import contextlib
import fcntl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from dvse.errors import ConfigError, JobError, StorageError
from pipelines.job.beats import Heart, part_key
from pipelines.job.part import Part

_POLL_S = 0.05


class Occupation:
    """The locks of one job directory.

    Args:
        output: the directory, for messages.
        folder: where the locks lie.

    Attributes:
        beat_s: seconds between two signs of life of a part.
    """

    beat_s = 1.0

    def __init__(self, output: Path, folder: Path) -> None:
        self._output, self._folder = output, folder

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep everybody else out.

        Raises:
            JobError: another job, or a part of one, is at work there.
            ConfigError: the output is no directory.
            StorageError: the directory cannot be made.
        """
        with self._lock("lock") as lock:
            if not _take(lock, fcntl.LOCK_EX):
                raise self._occupied()
            yield

    @contextlib.contextmanager
    def of(self, part: Part, heart: Heart) -> "Iterator[PartPlace]":
        """Keep whole jobs out, and a second process of the same part.

        Args:
            part: whose place it is.
            heart: its signs of life.

        Raises:
            JobError: a whole job is at work there, or the same part.
            ConfigError, StorageError: as `alone`.
        """
        with (
            self._lock(f"parts/{part_key(part)}.lock") as own,
            self._lock("lock") as shared,
            self._lock("turn") as turn,
        ):
            if not _take(own, fcntl.LOCK_EX):
                raise JobError(f"--output {self._output}: part {part} is at work there already")
            yield LockedPlace(shared, turn, self._occupied)

    def _occupied(self) -> JobError:
        return JobError(
            f"--output {self._output}: another job is writing there; wait for it or stop it"
        )

    def _lock(self, name: str) -> IO[str]:
        try:
            for part in ("done", "errors", "parts"):
                (self._folder / part).mkdir(parents=True, exist_ok=True)
            return (self._folder / name).open("w")
        except (FileExistsError, NotADirectoryError):
            raise ConfigError(
                f"--output {self._output}: expected a directory, received a file"
            ) from None
        except OSError as error:
            raise StorageError(f"--output {self._output}: {error.strerror or error}") from None


class PartPlace(ABC):
    """The place of one part among the others."""

    @abstractmethod
    def turn(
        self, is_stopped: Callable[[], bool], meanwhile: Callable[[], object] = bool
    ) -> AbstractContextManager[bool]:
        """Wait until no other part has its turn; give whether it came before a request to stop.

        Args:
            is_stopped: asked now and then.
            meanwhile: called once where there is something to wait for.
        """

    @abstractmethod
    def take_if_empty(self) -> bool:
        """Whether no other part is at work; then all are kept out until `share`."""

    @abstractmethod
    def share(self) -> None:
        """Let other parts in, keep whole jobs out.

        Raises:
            JobError: a whole job is at work.
        """

    @abstractmethod
    def alive(self, heart: Heart) -> AbstractContextManager[None]:
        """Show that the part lives while the context lasts."""


class LockedPlace(PartPlace):
    """Kept by locks of the file system."""

    def __init__(self, shared: IO[str], turn: IO[str], occupied: Callable[[], JobError]) -> None:
        self._shared, self._turn, self._occupied = shared, turn, occupied

    @contextlib.contextmanager
    def turn(
        self, is_stopped: Callable[[], bool], meanwhile: Callable[[], object] = bool
    ) -> Iterator[bool]:
        """Hold the lock of turns."""
        if not _take(self._turn, fcntl.LOCK_EX):
            meanwhile()
        while not (has_come := _take(self._turn, fcntl.LOCK_EX)) and not is_stopped():
            time.sleep(_POLL_S)
        try:
            yield has_come
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def take_if_empty(self) -> bool:
        """Try to have the directory alone."""
        return _take(self._shared, fcntl.LOCK_EX)

    def share(self) -> None:
        """Have the directory together with other parts."""
        if not _take(self._shared, fcntl.LOCK_SH):
            raise self._occupied()

    def alive(self, heart: Heart) -> AbstractContextManager[None]:
        """Beat; not before others are let in, for whoever is alone cleans up."""
        return heart.beating()


def _take(lock: IO[str], how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
