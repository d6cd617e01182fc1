"""What crosses the pipes between a job and its processes, a small class each.

    job ─ Work ─► decode worker ─ Report ─► job ─ Pieces, Forget, Flush ─► device ─ Result ─► job

Pieces (`pipelines.engines.window.Piece`) go from worker to device in a parcel of shared memory,
which follows a `Report` and a `Pieces`; the job passes the handle on and touches nothing of what is
in it. A worker has one report on its way at most: the job says `Taken` once a device has room.
"""

import pickle
from dataclasses import dataclass
from typing import Any

from pipelines.engines.engine import Numbered
from pipelines.sources.record import Failure

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
