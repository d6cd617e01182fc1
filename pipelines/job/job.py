"""The job: plan, compare with what was begun, run what is missing, commit, sum up.

    inputs ─ plan ─► partitions ─ engine ─► outcomes ─► Partition ─ writer ─► shard + marker

It decides *what* happens and in which order things become durable. Where the work runs is the
engine's, what the work is the step's.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from dvse.errors import DvseError, StorageError, TooManyErrorsError
from dvse.storage.shard import read_shard
from pipelines.engines.engine import Engine, EngineStopped, Numbered, Outcome
from pipelines.job.config import JobConfig
from pipelines.job.journal import DoneMarker, Journal
from pipelines.job.partition import Partition
from pipelines.job.plan import Plan, differences, write_listing
from pipelines.job.progress import NoProgress, Progress
from pipelines.job.resume import check_identity, check_inputs, check_profile
from pipelines.job.stop_request import StoppedAtOnce, StopRequest
from pipelines.job.summary import Summary
from pipelines.job.unique_names import UniqueNames
from pipelines.job.writer import ShardFormat, Writer
from pipelines.steps.step import Step, StepDescription


class Job:
    """A batch job over many inputs. Make one and `run` it.

    Args:
        config: the settings.
        step: what to do with each input.
        engine: where; the job opens it only if something is left to do, and closes it.
        progress: told what happens.
        stop: asked whether to stop.
    """

    def __init__(
        self,
        config: JobConfig,
        step: Step,
        engine: Engine,
        *,
        progress: Progress | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        self._config = config
        self._step = step
        self._engine = engine
        self._progress = progress or NoProgress()
        self._stop = stop or StopRequest()
        self._journal = Journal(config.output)
        self._partitions: dict[int, Partition] = {}
        self._num_new = self._num_errors = 0
        self._total: int | None = None
        self._began = time.monotonic()
        self._work_began: float | None = None
        self._work_ended = 0.0

    def run(self) -> Summary:
        """Do what is missing and return the summary.

        Raises:
            ResumeError: another bundle, other inputs or numerics than the job was begun with.
            TooManyErrorsError: more inputs failed than allowed; error lines are written.
            WorkerDiedError: processes were killed twice on the same partition.
            StorageError: the disk is full; what is finished stays.
            ConfigError: another job is at work in the directory.
        """
        with self._journal.locked(), self._stop.listening():
            try:
                return self._run()
            except OSError as error:
                if isinstance(error, DvseError):
                    raise
                raise StorageError(
                    f"{self._config.output}: the journal could not be written "
                    f"({error.strerror or error}); make room, then run the same command again"
                ) from error

    def _run(self) -> Summary:
        journal, config = self._journal, self._config
        if config.overwrite:
            journal.erase()
        journal.refuse_strangers()
        journal.clean()
        identity = self._step.identity() | {
            "shard_size": config.shard_size,
            "template": config.source_options.template,
        }
        before = journal.read_job() if journal.exists() else None
        if before is not None:
            check_identity(before["identity"], identity)
        try:
            with self._stop.interrupting():
                listing = write_listing(
                    journal.new_listing,
                    config.inputs,
                    config.source_options,
                    skip=config.output,
                    tick=self._tick,
                )
        except StoppedAtOnce:
            return self._summary({}, ())
        markers = journal.markers() if before is not None else {}
        if before is not None and before["listing_sha256"] != listing.sha256:
            self._compare_inputs(markers)
        self._total = listing.total(journal.stream_lengths())
        repaired = tuple(p for p, m in markers.items() if not journal.is_intact(m))
        for partition in repaired:
            self._progress.note(
                f"{journal.shard(partition).name} or its error lines are corrupt; made again"
            )
            journal.forget(partition)
            del markers[partition]
        retried = {p for p, m in markers.items() if config.retry_errors and m.num_errors}
        finished = {p: m for p, m in markers.items() if p not in retried}
        if before is not None and self._total is not None:
            expected = -(-self._total // config.shard_size)
            if set(range(expected)) <= finished.keys():
                now = self._step.quick_profile(config.device, before["profile"])
                self._check_profile({k: before["profile"].get(k) for k in now}, now)
                journal.new_listing.unlink()
                journal.assemble_errors(sorted(finished), ())
                return self._summary(finished, repaired)
        with self._engine as engine:
            engine.is_stopped = self._stop.is_set
            try:
                description = engine.open(self._step)
            except EngineStopped:
                return self._summary(finished, repaired)
            if before is not None:
                self._check_profile(before["profile"], description.profile)
            journal.write_job(
                {
                    "identity": identity,
                    "profile": before["profile"] if before else dict(description.profile),
                    "listing_sha256": listing.sha256,
                    "inputs": list(config.inputs),
                    **self._step.notes(),
                    "num_inputs": self._total,
                }
            )
            return self._work(description, markers, retried, repaired)

    def _work(
        self,
        description: StepDescription,
        markers: dict[int, DoneMarker],
        retried: set[int],
        repaired: tuple[int, ...],
    ) -> Summary:
        journal = self._journal
        finished = {p: m for p, m in markers.items() if p not in retried}
        self._num_errors = sum(m.num_errors for m in finished.values())
        already = sum(m.num_inputs for m in finished.values())
        already += sum(markers[p].num_rows for p in retried)
        writer = Writer(
            journal, ShardFormat(schema=description.schema, metadata=description.metadata)
        )
        self._progress.begin(self._total, already)
        self._work_began = time.monotonic()
        try:
            for outcome in self._engine.run(self._feed(markers, retried)):
                self._take(outcome, writer)
            for partition in list(self._partitions.values()):
                self._hand_over(partition, writer)
            assert self._stop.is_set() or not self._partitions, "an input came to nothing"
        except BaseException:
            # What is complete becomes durable and the errors so far are written down, but
            # nothing that fails now may hide what failed first.
            with contextlib.suppress(OSError):
                self._wind_up(writer, markers)
            raise
        self._wind_up(writer, markers)
        return self._summary(self._with_new(markers, writer), repaired)

    def _wind_up(self, writer: Writer, markers: dict[int, DoneMarker]) -> None:
        self._engine.close()
        self._progress.end()
        try:
            writer.finish()
        finally:
            self._work_ended = time.monotonic()
            markers = self._with_new(markers, writer)
            pending = [
                line
                for partition in self._partitions.values()
                if partition.number not in markers
                for line in partition.errors
            ]
            self._journal.assemble_errors(sorted(markers), pending)
            self._journal.write_summary(self._summary(markers, ()).to_dict())

    @staticmethod
    def _with_new(markers: dict[int, DoneMarker], writer: Writer) -> dict[int, DoneMarker]:
        return markers | {marker.partition: marker for marker in writer.done}

    def _feed(self, markers: dict[int, DoneMarker], retried: set[int]) -> Iterator[Numbered]:
        """Yield the inputs that are to be done, under unique names; open and close partitions."""
        size, journal = self._config.shard_size, self._journal
        wanted = _Wanted(markers, retried, journal, size)
        plan = Plan(
            journal.listing,
            self._config.source_options,
            stream_lengths=journal.stream_lengths(),
            on_stream_end=journal.write_stream_length,
        )
        names = UniqueNames()
        num_named = 0  # partitions whose names are remembered
        index = -1
        for index, record in plan.records(wanted.ranges()):
            number = index // size
            if number not in self._partitions:
                self._close_until(index)
                for earlier in range(num_named, number):
                    if earlier in markers:
                        self._remember_names(names, earlier)
                num_named = number
                self._begin(number, markers, retried)
            if number in retried:
                id = wanted.names[index]
            else:
                num_named = number + 1
                id = names.claim(record.id)
            yield Numbered(partition=number, index=index, record=record.renamed(id))
        self._close_until(index + 1)

    def _begin(self, number: int, markers: dict[int, DoneMarker], retried: set[int]) -> None:
        first = number * self._config.shard_size
        num_inputs = None
        if self._total is not None:
            num_inputs = min(self._config.shard_size, self._total - first)
        if number in retried:
            num_inputs = markers[number].num_inputs
        partition = self._partitions[number] = Partition(number, first, num_inputs)
        if number in retried:
            table = read_shard(self._journal.shard(number))
            partition.restore(
                table.to_pylist(), {line.index for line in self._journal.errors(number)}
            )

    def _close_until(self, index: int) -> None:
        """Everything before this input was fed: now the end of a stream's partition is known."""
        for partition in self._partitions.values():
            partition.close(index)

    def _remember_names(self, names: UniqueNames, partition: int) -> None:
        shard = read_shard(self._journal.shard(partition), columns=["id"])
        names.add(shard.column("id").to_pylist())
        names.add(line.id for line in self._journal.errors(partition))

    def _take(self, outcome: Outcome, writer: Writer) -> None:
        partition = self._partitions[outcome.partition]
        partition.add(outcome)
        self._num_new += 1
        self._num_errors += outcome.failure is not None
        self._progress.update(self._num_errors)
        self._check_errors()
        if partition.is_complete:
            self._hand_over(partition, writer)

    def _hand_over(self, partition: Partition, writer: Writer) -> None:
        if partition.is_complete:
            writer.put(partition)
            del self._partitions[partition.number]

    def _check_errors(self) -> None:
        allowed = self._config.max_error_rate
        total = self._total if self._total is not None else max(self._num_new, 100)
        if self._num_errors > allowed * total:
            raise TooManyErrorsError(
                f"{self._num_errors:,} of {total:,} inputs failed, more than --max-error-rate "
                f"{allowed:g} allows; see {self._config.output / 'errors.jsonl'}, repair the "
                "inputs or raise the rate, then run the same command again (with --retry-errors "
                "for those that failed)"
            )

    def _compare_inputs(self, markers: dict[int, DoneMarker]) -> None:
        failed: set[int] = set()
        if self._config.retry_errors:
            failed = {e.index for p in markers for e in self._journal.errors(p)}
        journal = self._journal
        check_inputs(differences(journal.listing, journal.new_listing, failed.__contains__))

    def _check_profile(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        if not self._config.allow_numerics_drift:
            check_profile(before, now)

    def _tick(self, count: int) -> None:
        if count and count % 100_000 == 0:
            self._progress.note(f"{count:,} files found so far")

    def _summary(self, markers: dict[int, DoneMarker], repaired: tuple[int, ...]) -> Summary:
        worked = self._work_ended - self._work_began if self._work_began else 0.0
        return Summary.of(
            markers.values(),
            new_inputs=self._num_new,
            seconds=time.monotonic() - self._began,
            work_seconds=worked,
            stopped_by=self._stop.name,
            repaired=repaired,
        )


class _Wanted:
    """Which inputs are left to do: whole partitions, or single failed inputs of done ones.

    Attributes:
        names: number → name, of failed inputs that are tried again.
    """

    def __init__(
        self, markers: dict[int, DoneMarker], retried: set[int], journal: Journal, size: int
    ) -> None:
        self._markers, self._retried, self._journal, self._size = markers, retried, journal, size
        self.names: dict[int, str] = {}

    def ranges(self) -> Iterator[tuple[int, int | None]]:
        """Yield half-open ranges of numbers in rising order; the last one is open."""
        for number in range(max(self._markers, default=-1) + 1):
            first = number * self._size
            if number in self._retried:
                for line in self._journal.errors(number):
                    self.names[line.index] = line.id
                    yield line.index, line.index + 1
            elif number not in self._markers:
                yield first, first + self._size
        yield (max(self._markers, default=-1) + 1) * self._size, None
