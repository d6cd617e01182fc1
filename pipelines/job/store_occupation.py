"""Who may work at a place in an object store: whoever likes, for markers are put conditionally."""

import contextlib
from collections.abc import Iterator

from dvse.errors import ConfigError, JobError
from dvse.remote.remote_path import RemotePath
from dvse.storage.atomic_file import create_atomically
from pipelines.job.occupation import Occupation, PartPlace
from pipelines.job.part import Part


class StoreOccupation(Occupation):
    """No locks; the store is tried out instead.

    Args:
        output: of the job.
    """

    def __init__(self, output: RemotePath) -> None:
        self._store = output

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """See that the store is there, takes what is written, and honours conditional puts.

        A second job does no harm: of two writers of a partition one gets its marker in.

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
    def of(self, part: Part) -> Iterator[PartPlace]:
        """Refuse parts.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"--part {part}: parts need a directory that all machines share as --output, not yet "
            f"{self._store}"
        )
        yield
