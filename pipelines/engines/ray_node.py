"""What runs in a Ray actor: a whole local engine, decoders beside encoder, fed from afar.

Pictures and sounds are decoded where they are encoded, so only records go to a node and only rows
come back; and a decoder that crashes or hangs costs there what it costs on one machine.
"""

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np

from pipelines.engines.engine import Numbered, Outcome
from pipelines.engines.local import LocalEngine
from pipelines.steps.step import Step, StepDescription

_WAIT_S, _GATHER_S, _MOST, _MOST_BYTES = 1.0, 0.02, 256, 32 << 20


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
        """Return outcomes that are there, some tens of megabytes; none where none comes.

        Raises:
            DvseError: the engine has failed.
        """
        taken: list[Outcome] = []
        size = 0
        deadline = time.monotonic() + _WAIT_S
        while len(taken) < _MOST and size < _MOST_BYTES:
            try:
                outcome = self._outbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if isinstance(outcome, BaseException):
                raise outcome
            if not taken:
                deadline = time.monotonic() + _GATHER_S
            taken.append(outcome)
            size += row_bytes(outcome.row or {})
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


def row_bytes(row: Mapping[str, Any]) -> int:
    """Return the bytes of the arrays of a row, also of lists of them; what else it holds is small.

    >>> row_bytes({"id": "a", "ids": np.zeros(3), "blocks": [np.zeros(2, np.int8)], "n": [1, 2]})
    26
    """
    found = 0
    for value in row.values():
        several = value if isinstance(value, list) else [value]
        if several and isinstance(several[0], np.ndarray):
            found += sum(one.nbytes for one in several)
    return found
