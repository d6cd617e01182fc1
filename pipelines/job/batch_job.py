"""What a whole job and a part of one share: the pieces of a run, and summing it up.

It decides *what* happens and in which order things become durable. Where the work runs is the
engine's, what the work is the step's.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping

from dvse.errors import DvseError, StorageError
from pipelines.engines.engine import Engine
from pipelines.filtering.work import FilterWork
from pipelines.job.beginning import Beginning, Begun
from pipelines.job.config import JobConfig
from pipelines.job.done_marker import DoneMarker
from pipelines.job.fruitless import fruitless_data_sets
from pipelines.job.judging import Judging
from pipelines.job.open_journal import open_journal
from pipelines.job.progress import NoProgress, Progress
from pipelines.job.stop_request import StopRequest
from pipelines.job.summary import Summary
from pipelines.job.work import Work
from pipelines.job.writer import ShardFormat
from pipelines.sources.contents import LeftOut
from pipelines.steps.step import Step, StepDescription


class BatchJob(ABC):
    """A batch job over many inputs. Make one and `run` it.

    Args:
        config: the settings.
        step: what to do with each input.
        engine: where; the job opens it only if something is left to do, and closes it.
        filters: which inputs are left out.
        progress: told what happens.
        stop: asked whether to stop.
    """

    def __init__(
        self,
        config: JobConfig,
        step: Step,
        engine: Engine,
        *,
        filters: FilterWork | None = None,
        progress: Progress | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        self._config = config
        self._step = step
        self._engine = engine
        self._filters = filters or FilterWork()
        self._progress = progress or NoProgress()
        self._stop = stop or StopRequest()
        self._journal = open_journal(config.output)
        self._beginning = Beginning(
            config,
            step,
            self._journal,
            filters=self._filters,
            progress=self._progress,
            stop=self._stop,
        )
        self._description: StepDescription | None = None
        self._began = time.monotonic()

    def run(self) -> Summary:
        """Do what is missing and return the summary.

        Raises:
            DvseError: the step cannot be opened (no such bundle); nothing is written.
            ResumeError: another bundle, other inputs or numerics than the job was begun with.
            TooManyErrorsError: more inputs failed than allowed; error lines are written.
            WorkerDiedError: processes were killed twice on the same partition.
            StorageError: the disk is full; what is finished stays.
            JobError: another job is at work in the directory.
        """
        with self._stop.listening():
            self._beginning.look_at_step()
            try:
                return self._run()
            except OSError as error:
                if isinstance(error, DvseError):
                    raise
                raise StorageError(
                    f"{self._config.output}: the journal could not be written "
                    f"({error.strerror or error}); make room, then run the same command again"
                ) from error

    @abstractmethod
    def _run(self) -> Summary:
        """Do what is missing, with signals listened to."""

    def _loaded(self, engine: Engine) -> StepDescription:
        """Open the engine, once.

        Raises:
            EngineStopped: asked to stop meanwhile.
        """
        if self._description is None:
            engine.is_stopped = self._stop.is_set
            self._progress.note("loading what encodes them")
            self._description = engine.open(self._step)
        return self._description

    def _opened(self, engine: Engine, begun: Begun) -> Work:
        """Open the engine and put the plan in force.

        Raises:
            EngineStopped: asked to stop meanwhile.
        """
        engine.num_expected = begun.numbering.num_inputs
        if engine.num_expected == 1:
            engine.worker_modules = self._step.worker_modules(self._config.inputs)
        description = self._loaded(engine)
        self._beginning.take_up(begun, description.profile)
        return Work(
            self._journal,
            engine,
            ShardFormat(schema=description.schema, metadata=description.metadata),
            judging=Judging(self._filters.judge, self._journal, begun.finished),
            max_error_rate=self._config.max_error_rate,
            progress=self._progress,
            stop=self._stop,
        )

    def _write_results(
        self, markers: Mapping[int, DoneMarker], begun: Begun, work: Work | None = None
    ) -> Summary:
        """Write `errors.jsonl`, `filtered.jsonl` and `summary.json` of everything that is there."""
        pending = [] if work is None else work.pending
        self._journal.sweep(markers)
        self._journal.assemble_lines(markers.values(), pending)
        summary = self._summary(markers, begun, work)
        self._journal.write_summary(summary.to_dict())
        return summary

    def _summary(
        self,
        markers: Mapping[int, DoneMarker],
        begun: Begun | None = None,
        work: Work | None = None,
    ) -> Summary:
        expected = begun and begun.numbering.num_partitions(self._config.shard_size)
        return Summary.of(
            markers.values(),
            new_inputs=work.num_new if work else 0,
            seconds=time.monotonic() - self._began,
            work_seconds=work.seconds if work else 0.0,
            stopped_by=self._stop.name,
            fruitless=self._fruitless(markers),
            repaired=begun.repaired if begun else (),
            filters=self._filters.names,
            num_missing=max((expected or 0) - len(markers), 0),
            left_out=begun.left_out if begun else LeftOut(),
        )

    def _fruitless(self, markers: Mapping[int, DoneMarker]) -> tuple[str, ...]:
        if not any(marker.num_errors for marker in markers.values()):
            return ()
        failed = (e.index for p in sorted(markers) for e in self._journal.errors(markers[p]))
        lengths = self._journal.stream_lengths()
        return tuple(fruitless_data_sets(self._journal.listing, failed, lengths))
