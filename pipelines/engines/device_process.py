"""The device process: holds the weights, encodes chunks of many inputs together, makes rows.

A thread in it empties the pipe, so that the job never waits for a forward pass. What may be under
way is bounded by the job (`has_room`), not by the pipe.
"""

import contextlib
import pickle
import queue
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from dvse.errors import DvseError, JobError
from pipelines.engines.child import Child
from pipelines.engines.messages import Flush, Forget, Key, Pieces, Ready, Result, packed
from pipelines.engines.parcel import Parcel
from pipelines.engines.window import Assembly, Piece
from pipelines.steps.step import Step, StepDescription

_WINDOW_BYTES = 64 << 20
_PATIENCE_S = 0.1


class DeviceProcess:
    """A device process seen from the job.

    Attributes:
        description: what the step says of itself; `None` until it is open.
    """

    def __init__(self, step: Step, device: str, *, max_chunks: int) -> None:
        self.device = device
        self.description: StepDescription | None = None
        self._max_chunks = max_chunks
        self._num_bytes = self._num_chunks = 0
        self._is_flushed = True
        # Threads of an encoder that wait for each other should sleep, decoders need the cores; but
        # not at once: the next small operator is some microseconds away.
        policy = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
        waiting = policy if device == "cpu" else {}
        self._child = Child(_serve, (step, device, max_chunks), environment=waiting)

    @property
    def connection(self) -> Connection:
        """The pipe, to wait on."""
        return self._child.connection

    @property
    def load(self) -> int:
        """Bytes that are under way to it or in it."""
        return self._num_bytes

    @property
    def has_room(self) -> bool:
        """Whether another parcel may be sent."""
        return self._num_bytes < 2 * _WINDOW_BYTES and self._num_chunks < 3 * self._max_chunks

    def receive_ready(self) -> StepDescription:
        """Take the description.

        Raises:
            DvseError: the step cannot be opened there.
            JobError: the process died over it.
        """
        try:
            answer = pickle.loads(self._child.connection.recv_bytes())
        except (EOFError, OSError):
            raise JobError(
                f"the process of device {self.device} died while it loaded the weights: "
                f"{self._child.why_it_never_began()}"
            ) from None
        if isinstance(answer, DvseError):
            raise answer
        self.description = answer.to_description()
        return self.description

    def send(self, parcel: Parcel, num_chunks: int) -> None:
        """Pass pieces on.

        Raises:
            OSError: the process is gone.
        """
        self._num_bytes += parcel.num_bytes
        self._num_chunks += num_chunks
        self._is_flushed = False
        try:
            self._child.connection.send_bytes(packed(Pieces(parcel.num_bytes)))
        except OSError:
            parcel.close()
            raise
        parcel.send(self._child.connection)

    def forget(self, key: Key) -> None:
        """Say that an input will not be completed."""
        self._say(Forget(key))

    def flush(self) -> None:
        """Say that nothing more is coming for now, so that it does not wait for more."""
        if not self._is_flushed:
            self._is_flushed = True
            self._say(Flush())

    def receive(self) -> Result:
        """Return the next result.

        Raises:
            EOFError, OSError: the process is gone.
        """
        result: Result = pickle.loads(self._child.connection.recv_bytes())
        self._num_bytes -= result.num_bytes
        self._num_chunks -= result.num_chunks
        return result

    def how_it_ended(self) -> str:
        """Say in words how it ended."""
        return self._child.how_it_ended()

    def kill(self) -> None:
        """End it at once."""
        self._child.kill()

    def _say(self, message: Forget | Flush) -> None:
        with contextlib.suppress(OSError):  # a process that is gone shows at its pipe
            self._child.connection.send_bytes(packed(message))


def _serve(connection: Connection, step: Step, device: str, max_chunks: int) -> None:
    try:
        work = step.open(device)
        answer: Any = Ready.of(work.describe())
    except DvseError as error:
        answer = error
    except Exception as error:
        answer = JobError(f"device {device} cannot be used; {type(error).__name__}: {error}")
    connection.send_bytes(packed(answer))
    if isinstance(answer, DvseError):
        return
    inbox: _Inbox = queue.SimpleQueue()
    threading.Thread(target=_empty_pipe, args=(connection, inbox), daemon=True).start()
    assembly = Assembly(work)
    while (window := _next_window(inbox, assembly, max_chunks)) is not None:
        done = assembly.run(window.pieces, is_last=window.is_last)
        result = Result(
            rows=done.rows,
            failures=done.failures,
            num_bytes=window.num_bytes,
            num_chunks=window.num_chunks,
        )
        connection.send_bytes(packed(result))


_Inbox: TypeAlias = "queue.SimpleQueue[bytes | Flush | Forget | None]"
"""Pieces still pickled, what the job says, `None` when it is gone."""


@dataclass(slots=True)
class _Window:
    pieces: list[Piece]
    num_bytes: int = 0
    num_chunks: int = 0
    is_last: bool = False


def _next_window(inbox: "_Inbox", assembly: Assembly, max_chunks: int) -> _Window | None:
    """Collect what has come, or until batches are full, no more is coming, or it takes too long."""
    window = _Window([])
    deadline = time.monotonic() + _PATIENCE_S if assembly.holds else None
    while window.num_chunks < max_chunks and window.num_bytes < _WINDOW_BYTES:
        try:
            message = _next_message(inbox, assembly, window, deadline)
        except queue.Empty:
            window.is_last = not window.num_bytes
            break
        if message is None:
            return None
        if isinstance(message, Flush):
            if window.num_bytes or assembly.holds:
                window.is_last = True
                break
            continue
        if isinstance(message, Forget):
            window.pieces = [p for p in window.pieces if p.key != message.key]
            assembly.forget(message.key)
            continue
        content: list[Piece] = pickle.loads(message)
        window.pieces += content
        window.num_bytes += len(message)
        window.num_chunks += sum(len(piece.chunks) for piece in content)
        deadline = deadline or time.monotonic() + _PATIENCE_S
    return window


def _next_message(
    inbox: "_Inbox", assembly: Assembly, window: _Window, deadline: float | None
) -> "bytes | Flush | Forget | None":
    """Return what is there, or what comes while it is worth waiting.

    Raises:
        queue.Empty: full batches are better computed now, or nothing came until the deadline.
    """
    try:
        return inbox.get_nowait()
    except queue.Empty:
        if window.num_chunks and assembly.are_full(window.pieces):
            raise
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        return inbox.get(timeout=wait)


def _empty_pipe(connection: Connection, inbox: "_Inbox") -> None:
    try:
        while True:
            message = pickle.loads(connection.recv_bytes())
            if isinstance(message, Pieces):  # read at once: handles are few
                message = Parcel.receive(connection, message.num_bytes).read()
            inbox.put(message)
    except (EOFError, OSError):
        inbox.put(None)
