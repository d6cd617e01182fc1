"""The decode worker: a process that reads records and makes chunks, and the handle on it.

It gets one task at a time and has one report on its way at most, so neither side can wait for the
other for ever, and what lies in shared memory is bounded. A heartbeat says which input it is at and
since when; so a decoder that crashes or never returns can be told from one that is slow, and costs
one input.
"""

import contextlib
import importlib
import os
import pickle
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from pipelines.engines.child import CONTEXT, Child
from pipelines.engines.messages import Report, Taken, Work, packed
from pipelines.engines.parcel import Parcel
from pipelines.engines.preparing import chunk_bytes, pieces
from pipelines.engines.task_board import Task
from pipelines.engines.window import Piece
from pipelines.sources.record import Failure
from pipelines.steps.step import ChunkMaker

_REPORT_BYTES = 8 << 20
_REPORT_CHUNKS = 128
_REPORT_S = 0.025
"""A report that is late lets a device wait; one costs a fifth of a millisecond."""
_IDLE = -1.0


class DecodeWorker:
    """A decode process seen from the job.

    Args:
        niceness: how far it steps back behind other processes.
        modules: what it imports before anything is sent to it.
    """

    def __init__(self, *, niceness: int, modules: Sequence[str] = ()) -> None:
        self._heartbeat = CONTEXT.RawArray("d", [_IDLE, 0.0])
        self._child = Child(
            _work,
            (self._heartbeat, niceness, tuple(modules)),
            # Decoding is parallel by processes; threads inside would fight for the cores.
            environment={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        self.task: Task | None = None
        self.is_ready = False

    @property
    def connection(self) -> Connection:
        """The pipe, to wait on."""
        return self._child.connection

    def begin(self, preparer: bytes) -> None:
        """Send the pickled preparer; the worker answers when it is ready."""
        with contextlib.suppress(OSError):  # a worker that is gone already shows at its pipe
            self._child.connection.send_bytes(preparer)

    def send(self, task: Task) -> None:
        """Give an idle worker its next task."""
        assert self.is_ready and self.task is None
        self.task = task
        with contextlib.suppress(OSError):
            self._child.connection.send_bytes(packed(Work(task.id, list(task.open.values()))))

    def receive(self) -> tuple[Report, Parcel | None]:
        """Return the next report and its pieces.

        Raises:
            EOFError, OSError: the worker is gone.
        """
        connection = self._child.connection
        report: Report = pickle.loads(connection.recv_bytes())
        parcel = Parcel.receive(connection, report.num_bytes) if report.num_bytes else None
        with contextlib.suppress(OSError):  # a worker that is gone shows at its pipe
            connection.send_bytes(packed(Taken()))
        return report, parcel

    def receive_ready(self) -> None:
        """Take the answer to `begin`.

        Raises:
            EOFError, OSError: the worker is gone.
        """
        self._child.connection.recv_bytes()
        self.is_ready = True

    def seconds_on_input(self) -> float:
        """Return how long it has been at its present input without any progress."""
        since = self._heartbeat[1]
        return time.monotonic() - since if self._heartbeat[0] != _IDLE else 0.0

    def current_input(self) -> int | None:
        """Return the number of the input it is at, `None` between inputs."""
        return None if self._heartbeat[0] == _IDLE else int(self._heartbeat[0])

    def crashed(self) -> bool:
        """Whether it died of a fault of its own, not because it was killed."""
        return self._child.crashed()

    def how_it_ended(self) -> str:
        """Say in words how it ended."""
        return self._child.how_it_ended()

    def why_it_never_began(self) -> str:
        """Say in words how it ended before it had taken a task, and what to look at."""
        return self._child.why_it_never_began()

    def kill(self) -> None:
        """End it at once."""
        self._child.kill()


def _work(connection: Connection, heartbeat: Any, niceness: int, modules: Sequence[str]) -> None:
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    for name in modules:
        importlib.import_module(name)
    preparer: ChunkMaker = pickle.loads(connection.recv_bytes())
    connection.send_bytes(b"ready")
    outbox = _Outbox(connection, heartbeat)
    while True:
        outbox.run(preparer, outbox.next_work())


class _Outbox:
    """Works through a task and reports in portions of bounded size."""

    def __init__(self, connection: Connection, heartbeat: Any) -> None:
        self._connection = connection
        self._heartbeat = heartbeat
        self._is_on_its_way = False
        self._clear()

    def next_work(self) -> Work:
        while isinstance(message := self._receive(), Taken):
            self._is_on_its_way = False
        return message

    def run(self, preparer: ChunkMaker, work: Work) -> None:
        self._began = self._reported = time.monotonic()
        for numbered in work.records:
            self._beat(numbered.index)
            for piece in pieces(preparer, numbered.record, (work.task_id, numbered.index)):
                if isinstance(piece, Failure):
                    self._failures.append((numbered.index, piece))
                    break
                self._add(piece, numbered.index)
            self._heartbeat[0] = _IDLE
        self._send(is_last=True)

    def _add(self, piece: Piece, index: int) -> None:
        self._pieces.append(piece)
        self._num_chunks += len(piece.chunks)
        self._num_bytes += sum(map(chunk_bytes, piece.chunks))
        if piece.loaded is not None:
            self._prepared.append(index)
        is_late = time.monotonic() - self._reported > _REPORT_S
        if is_late or self._num_bytes >= _REPORT_BYTES or self._num_chunks >= _REPORT_CHUNKS:
            self._send(is_last=False)
        if piece.loaded is None:
            self._beat(index)

    def _beat(self, index: int) -> None:
        self._heartbeat[1] = time.monotonic()
        self._heartbeat[0] = float(index)

    def _send(self, *, is_last: bool) -> None:
        self._heartbeat[0] = _IDLE  # waiting for the device is no fault of the decoder
        parcel = Parcel.pack(self._pieces) if self._num_chunks or self._prepared else None
        report = Report(
            prepared=self._prepared,
            failures=self._failures,
            num_chunks=self._num_chunks,
            num_bytes=0 if parcel is None else parcel.num_bytes,
            is_last=is_last,
            seconds=time.monotonic() - self._began,
        )
        if self._is_on_its_way:
            self._receive()  # in the middle of a task nothing but `Taken` comes
        self._connection.send_bytes(packed(report))
        if parcel is not None:
            parcel.send(self._connection)
        self._is_on_its_way = True
        self._reported = time.monotonic()
        self._clear()

    def _receive(self) -> Work | Taken:
        return pickle.loads(self._connection.recv_bytes())

    def _clear(self) -> None:
        self._pieces: list[Piece] = []
        self._prepared: list[int] = []
        self._failures: list[tuple[int, Failure]] = []
        self._num_chunks = self._num_bytes = 0
