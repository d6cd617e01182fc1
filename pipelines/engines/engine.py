"""The contract of an engine, and the outcome it hands back for each input."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pipelines.sources.record import Failure, Record
from pipelines.steps.step import Step, StepDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A record with its number in the job and the partition it belongs to."""

    partition: int
    index: int
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one input: a row (or what a filter says of it), or a failure."""

    partition: int
    index: int
    id: str
    source: str
    row: dict[str, Any] | None = None
    failure: Failure | None = None

    @property
    def is_refused(self) -> bool:
        """Whether a filter refused the input: then `row` says which and why, and has no ids."""
        return self.row is not None and "filter" in self.row

    @classmethod
    def failed(cls, numbered: Numbered, failure: Failure) -> "Outcome":
        """Return the outcome of an input that gave no row."""
        return cls(
            partition=numbered.partition,
            index=numbered.index,
            id=numbered.record.id,
            source=numbered.record.source,
            failure=failure,
        )

    @classmethod
    def done(cls, numbered: Numbered, row: dict[str, Any]) -> "Outcome":
        """Return the outcome of an input that gave a row."""
        return cls(
            partition=numbered.partition,
            index=numbered.index,
            id=numbered.record.id,
            source=numbered.record.source,
            row=row,
        )


class EngineStopped(Exception):  # noqa: N818  # no error: somebody asked for it
    """The engine was asked to stop while it was opening."""


class Engine(ABC):
    """A place where steps run. Use it as a context: leaving it ends every process it started.

    Attributes:
        is_stopped: asked several times a second; once it says yes, work ends at once.
        num_expected: the most records that will come, `None` where nobody knows: for a single
            file one decoder is started.
        worker_modules: what decode workers import while the devices load.
    """

    is_stopped: Callable[[], bool] = staticmethod(lambda: False)
    num_expected: int | None = None
    worker_modules: Sequence[str] = ()

    @abstractmethod
    def open(self, step: Step) -> StepDescription:
        """Load the step on every device and return what it says of itself.

        Raises:
            DvseError: the step cannot be opened.
            EngineStopped: asked to stop meanwhile.
        """

    @abstractmethod
    def run(self, records: Iterator[Numbered | None]) -> Iterator[Outcome]:
        """Yield exactly one outcome for each record, in any order; fewer only when stopped.

        Records are read ahead by a bounded amount only. A `None` among them says that no more is
        there for now, so that nothing waits for it.

        Raises:
            WorkerDiedError: processes were killed twice on the same partition.
            JobError: processes cannot be started at all.
        """

    @abstractmethod
    def close(self) -> None:
        """End every process, at once. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
