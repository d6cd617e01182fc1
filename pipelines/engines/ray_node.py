"""What runs in a Ray actor: a whole local engine, decoders beside encoder, fed from afar.

Pictures and sounds are decoded where they are encoded, so only records go to a node and only rows
come back; and a decoder that crashes or hangs costs there what it costs on one machine.
"""

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

from pipelines.engines.engine import Numbered, Outcome
from pipelines.engines.local import LocalEngine
from pipelines.steps.step import Step, StepDescription

_WAIT_S, _GATHER_S, _MOST = 1.0, 0.02, 256


class RayNode:
    """A local engine that takes batches of records and gives outcomes as they come.

    Args:
        step: what is done.
        engine: unopened; opened here, in a thread of its own.
    """

    def __init__(self, step: Step, engine: LocalEngine) -> None:
        self._inbox: queue.SimpleQueue[list[Numbered]] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._description: Future[StepDescription] = Future()
        # The system ends the processes of an engine together with the thread that started them.
        threading.Thread(target=self._work, args=(step, engine), daemon=True).start()

    def describe(self) -> StepDescription:
        """Return what the step says of itself, once it is open.

        Raises:
            DvseError: it cannot be opened here.
        """
        return self._description.result()

    def give(self, batch: list[Numbered]) -> None:
        """Take records; their outcomes are to come."""
        self._inbox.put(batch)

    def take(self) -> list[Outcome]:
        """Return outcomes that are there; empty where none comes for a second.

        Raises:
            DvseError: the engine has failed.
        """
        taken: list[Outcome] = []
        deadline = time.monotonic() + _WAIT_S
        while len(taken) < _MOST:
            try:
                outcome = self._outbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if isinstance(outcome, BaseException):
                raise outcome
            if not taken:
                deadline = time.monotonic() + _GATHER_S
            taken.append(outcome)
        return taken

    def _work(self, step: Step, engine: LocalEngine) -> None:
        try:
            self._description.set_result(engine.open(step))
            for outcome in engine.run(self._records()):
                self._outbox.put(outcome)
        except BaseException as error:  # it belongs to whoever asks next
            if not self._description.done():
                self._description.set_exception(error)
            self._outbox.put(error)

    def _records(self) -> Iterator[Numbered | None]:
        while True:
            try:
                yield from self._inbox.get_nowait()
            except queue.Empty:
                yield None
