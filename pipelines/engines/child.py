"""Starting a child process that a job can rely on.

Spawned, never forked (torch and its threads do not survive a fork). It ignores Ctrl-C and
SIGTERM, which are for the job to handle, and dies with the job however that ends.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

_CRASHES = {
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGSYS")
    if hasattr(signal, name)
}
_JOIN_S = 5.0

CONTEXT = multiprocessing.get_context("spawn")


class Child:
    """A process and the two-way pipe to it.

    Args:
        target: module-level function; its first argument is the child's end of the pipe.
        args: further arguments, picklable.
        environment: variables that only the child sees.
    """

    def __init__(
        self,
        target: Callable[..., None],
        args: tuple[Any, ...],
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.connection, far_end = CONTEXT.Pipe()
        self.process: BaseProcess = CONTEXT.Process(
            target=_run, args=(target, far_end, args), daemon=True
        )
        with _signals_blocked(), _environment(environment or {}):
            self.process.start()
        far_end.close()

    def kill(self) -> None:
        """End the process at once and wait until it is gone."""
        self.process.kill()
        self.process.join(_JOIN_S)
        self.connection.close()

    def crashed(self) -> bool:
        """Whether it died of a fault of its own (SIGSEGV, exit), not because it was killed."""
        self.process.join(_JOIN_S)
        code = self.process.exitcode
        return code is not None and (code >= 0 or -code in _CRASHES)

    def how_it_ended(self) -> str:
        """Say in words how the process ended."""
        self.process.join(_JOIN_S)
        code = self.process.exitcode
        if code is None:
            return "it hangs"
        if code >= 0:
            return f"it exited with code {code}"
        with contextlib.suppress(ValueError):
            return f"it was ended by {signal.Signals(-code).name}"
        return f"it was ended by signal {-code}"

    def why_it_never_began(self) -> str:
        """Say in words how it ended before it had done anything, and what to look at."""
        how, code = self.how_it_ended(), self.process.exitcode
        if not code or code < 0:
            return f"{how}; is there enough memory?"
        return (
            f"{how}; what it wrote stands above; a script of your own needs "
            'if __name__ == "__main__": around what starts the job, for each process reads it again'
        )


def _run(target: Callable[..., None], connection: Connection, args: tuple[Any, ...]) -> None:
    _die_with_parent()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        target(connection, *args)  # the job is gone: so are we


def _die_with_parent() -> None:
    if sys.platform != "linux":
        return  # elsewhere the broken pipe ends us, as soon as we look at it
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """A child inherits the mask, so the signals never reach it, not even while it starts."""
    signals = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
