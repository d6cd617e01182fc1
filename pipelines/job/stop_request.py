"""Ctrl-C and SIGTERM as a request that the job looks at, so that it stops between two moves.

Where nothing can be half done (while inputs are being found), the request ends the work at once:
nobody knows when a library that lists a large data set comes back.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StoppedAtOnce(BaseException):  # no error: somebody asked for it
    """Somebody asked to stop while nothing was at stake; no `except Exception` may swallow it."""


class StopRequest:
    """Remembers whether somebody asked to stop.

    Attributes:
        name: name of the signal, `None` while nobody has asked.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._may_interrupt = False

    def is_set(self) -> bool:
        """Whether somebody asked."""
        return self.name is not None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as requests while the context lasts (main thread only)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a request raise `StoppedAtOnce` while the context lasts.

        Raises:
            StoppedAtOnce: somebody asks, or has asked already.
        """
        self._may_interrupt = True
        try:
            if self.is_set():
                raise StoppedAtOnce
            yield
        finally:
            self._may_interrupt = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: somebody is in a hurry
        self.name = signal.Signals(number).name
        if self._may_interrupt:
            raise StoppedAtOnce
