"""What crosses the pipes between a job and its processes, a small class each.

    job ─ Work ─► decode worker ─ Report ─► job ─ Pieces, Forget, Flush ─► device ─ Result ─► job

Pieces (`pipelines.engines.window.Piece`) go from worker to device in a parcel of shared memory,
which follows a `Report` and a `Pieces`; the job passes the handle on and touches nothing of what is
in it. A worker has one report on its way at most: the job says `Taken` once a device has room.
"""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from dvse.chunk import Chunk
from dvse.items import Item
from pipelines.engines.engine import Numbered
from pipelines.sources.record import Failure
from pipelines.steps.step import ChunkMaker, StepDescription

Key = tuple[int, int]
"""A task's number and an input's: which input a piece or a row is of."""


@dataclass(frozen=True, slots=True)
class Work:
    """A task for a decode worker."""

    task_id: int
    records: list[Numbered]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a worker says now and then while it works on a task.

    Attributes:
        prepared: numbers of the inputs whose last piece is in the parcel that follows.
        failures: inputs that came to nothing.
        num_chunks, num_bytes: of the parcel; no bytes where none follows.
        is_last: the task is done.
        seconds: the worker's time on the task so far.
    """

    prepared: list[int]
    failures: list[tuple[int, Failure]]
    num_chunks: int
    num_bytes: int
    is_last: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class StillPickled:
    """The preparer of a step on its way through the job, which loads none of what it needs.

    Who is given it pickled has the preparer itself.

    >>> pickle.loads(pickle.dumps(StillPickled(pickle.dumps("a preparer"))))
    'a preparer'
    """

    data: bytes

    def chunks(self, sequence: Sequence[Item]) -> Iterator[Chunk]:
        """Yield what the preparer yields."""
        maker: ChunkMaker = pickle.loads(self.data)
        yield from maker.chunks(sequence)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.data,)


@dataclass(frozen=True, slots=True)
class Ready:
    """A device is ready: what the step says of itself, the preparer as bytes."""

    description: dict[str, Any]
    preparer: bytes

    @classmethod
    def of(cls, description: StepDescription) -> "Ready":
        """Return it for a step that is open."""
        found = {one.name: getattr(description, one.name) for one in fields(description)}
        return cls(found, pickle.dumps(found.pop("preparer"), pickle.HIGHEST_PROTOCOL))

    def to_description(self) -> StepDescription:
        """Return the description, its preparer still pickled."""
        return StepDescription(**self.description, preparer=StillPickled(self.preparer))


@dataclass(frozen=True, slots=True)
class Taken:
    """A report was read: the worker may send the next one."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """A parcel of pieces follows."""

    num_bytes: int


@dataclass(frozen=True, slots=True)
class Forget:
    """An input will not be completed."""

    key: Key


@dataclass(frozen=True, slots=True)
class Flush:
    """Nothing more is coming for now: do not wait for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a device hands back after a window.

    Attributes:
        rows: of each input, its row.
        failures: of each input, why it has none.
        num_bytes, num_chunks: of the parcels that were worked off.
    """

    rows: list[tuple[Key, dict[str, Any]]]
    failures: list[tuple[Key, Failure]]
    num_bytes: int
    num_chunks: int


def packed(message: Any) -> bytes:
    """Return a message as bytes for a pipe between processes of one job.

    >>> pickle.loads(packed(Forget((3, 14))))
    Forget(key=(3, 14))
    """
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
