"""The job: plan, compare with what was begun, run what is missing, commit, sum up.

    inputs ─ plan ─► partitions ─ engine ─► outcomes ─► Partition ─ writer ─► shard + marker

It decides *what* happens and in which order things become durable. Where the work runs is the
engine's, what the work is the step's.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dvse.errors import DvseError, StorageError, TooManyErrorsError
from dvse.storage.shard import shard_name
from pipelines.engines.engine import Engine, EngineStopped, Outcome
from pipelines.job.comparison import Comparison
from pipelines.job.config import JobConfig
from pipelines.job.feed import Feed
from pipelines.job.fruitless import fruitless_data_sets
from pipelines.job.journal import DoneMarker, ErrorLine, Journal
from pipelines.job.numbering import Numbering
from pipelines.job.partition import Partition
from pipelines.job.plan import Plan, write_listing
from pipelines.job.progress import NoProgress, Progress
from pipelines.job.reconciliation import Reconciled, reconcile
from pipelines.job.resume import check_identity, check_profile
from pipelines.job.stop_request import StoppedAtOnce, StopRequest
from pipelines.job.stored_rows import StoredRows
from pipelines.job.summary import Summary
from pipelines.job.writer import ShardFormat, Writer
from pipelines.steps.step import Step, StepDescription

_TICK_S = 5.0


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
        self._began = self._ticked = time.monotonic()
        self._work_began: float | None = None
        self._work_ended = 0.0

    def run(self) -> Summary:
        """Do what is missing and return the summary.

        Raises:
            ResumeError: another bundle, other inputs or numerics than the job was begun with.
            TooManyErrorsError: more inputs failed than allowed; error lines are written.
            WorkerDiedError: processes were killed twice on the same partition.
            StorageError: the disk is full; what is finished stays.
            JobError: another job is at work in the directory.
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
                found = write_listing(
                    journal.found,
                    config.inputs,
                    config.source_options,
                    skip=config.output,
                    tick=self._tick,
                )
        except StoppedAtOnce:
            return self._summary({}, ())
        markers = journal.markers() if before is not None else {}
        repaired = self._forget_damaged(markers)
        listing = self._settle_inputs(before, found.sha256, markers)
        numbering = Numbering.of(listing, journal.stream_lengths())
        self._total = numbering.num_inputs
        again = self._again(markers, numbering)
        finished = {p: m for p, m in markers.items() if p not in again}
        expected = numbering.num_partitions(config.shard_size)
        is_done = expected is not None and set(range(expected)) <= finished.keys()
        if before is not None and is_done:
            now = self._step.quick_profile(config.device, before["profile"])
            self._check_profile({k: before["profile"].get(k) for k in now}, now)
            if listing != journal.listing:
                journal.write_job(before | self._inputs_noted(found.sha256))
            journal.assemble_errors(sorted(finished), ())
            return self._summary(finished, repaired)
        with self._engine as engine:
            engine.is_stopped = self._stop.is_set
            self._progress.note("loading what encodes them")
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
                    **self._step.notes(),
                    **self._inputs_noted(found.sha256),
                }
            )
            return self._work(description, numbering, markers, again, repaired)

    def _inputs_noted(self, found_sha256: str) -> dict[str, Any]:
        return {
            "listing_sha256": found_sha256,
            "inputs": list(self._config.inputs),
            "num_inputs": self._total,
        }

    def _forget_damaged(self, markers: dict[int, DoneMarker]) -> tuple[int, ...]:
        """Take out what is missing or corrupt, so that it is made again."""
        damaged = {p: d for p, m in markers.items() if (d := self._journal.damage(m)) is not None}
        for partition, damage in damaged.items():
            self._progress.note(f"{damage}; made again")
            self._journal.forget(partition)
            del markers[partition]
        return tuple(damaged)

    def _settle_inputs(
        self, before: Mapping[str, Any] | None, found_sha256: str, markers: dict[int, DoneMarker]
    ) -> Path:
        """Return the listing to go on with; nothing of it is in force before `write_job`.

        Raises:
            ResumeError: the inputs have changed in a way that was not allowed.
        """
        journal, config = self._journal, self._config
        if before is not None and before["listing_sha256"] == found_sha256:
            journal.found.unlink()
            return journal.listing
        if before is None or not markers:
            # Nothing is made yet, so there is nothing that a change could spoil.
            journal.forget_streams()
            journal.found.replace(journal.new_listing)
            return journal.new_listing
        lengths, size = journal.stream_lengths(), config.shard_size
        comparison = Comparison(
            journal.listing,
            journal.found,
            rows=StoredRows(journal, markers, size),
            options=config.source_options,
            stream_lengths=lengths,
        )
        settled = reconcile(comparison, size=size, may=config.permissions)
        redone = sorted({n // size for n in settled.changed} & markers.keys())
        for text in _announced(settled, redone, len(markers) - len(redone)):
            self._progress.note(text)
        # First the shards of what has changed stop counting, then the new listing counts: killed
        # in between, the job finds the change again.
        for partition in redone:
            journal.forget(partition)
            del markers[partition]
        journal.write_new_listing(settled.entries)
        journal.found.unlink()
        return journal.new_listing

    def _again(
        self, markers: Mapping[int, DoneMarker], numbering: Numbering
    ) -> dict[int, list[ErrorLine]]:
        """The failed inputs of finished partitions that are looked at again, by partition."""
        again = {}
        for partition, marker in markers.items():
            if marker.num_errors and (self._config.retry_errors or numbering.holes):
                lines = self._journal.errors(partition)
                if not self._config.retry_errors:
                    # An error line of an input that went away has nothing to say any more.
                    lines = [line for line in lines if numbering.is_hole(line.index)]
                if lines:
                    again[partition] = lines
        return again

    def _work(
        self,
        description: StepDescription,
        numbering: Numbering,
        markers: dict[int, DoneMarker],
        again: Mapping[int, list[ErrorLine]],
        repaired: tuple[int, ...],
    ) -> Summary:
        journal, config = self._journal, self._config
        num_again = sum(map(len, again.values()))
        self._num_errors = sum(m.num_errors for m in markers.values()) - num_again
        already = sum(m.num_inputs for m in markers.values()) - num_again
        plan = Plan(
            journal.listing,
            config.source_options,
            stream_lengths=journal.stream_lengths(),
            on_stream_end=journal.write_stream_length,
        )
        feed = Feed(journal, plan, numbering, size=config.shard_size, markers=markers, again=again)
        self._partitions = feed.partitions
        writer = Writer(
            journal, ShardFormat(schema=description.schema, metadata=description.metadata)
        )
        self._progress.begin(self._total, already)
        self._work_began = time.monotonic()
        try:
            for outcome in self._engine.run(iter(feed)):
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

    def _check_profile(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        if not self._config.allow_numerics_drift:
            check_profile(before, now)

    def _tick(self, count: int) -> None:
        now = time.monotonic()
        if now - self._ticked >= _TICK_S:
            self._ticked = now
            self._progress.note(f"{count:,} files found so far")

    def _summary(self, markers: dict[int, DoneMarker], repaired: tuple[int, ...]) -> Summary:
        fruitless: list[str] = []
        if any(marker.num_errors for marker in markers.values()):
            failed = (e.index for p in sorted(markers) for e in self._journal.errors(p))
            lengths = self._journal.stream_lengths()
            fruitless = fruitless_data_sets(self._journal.listing, failed, lengths)
        worked = self._work_ended - self._work_began if self._work_began else 0.0
        return Summary.of(
            markers.values(),
            new_inputs=self._num_new,
            seconds=time.monotonic() - self._began,
            work_seconds=worked,
            stopped_by=self._stop.name,
            fruitless=tuple(fruitless),
            repaired=repaired,
        )


def _announced(settled: Reconciled, redone: Sequence[int], num_kept: int) -> Iterator[str]:
    """What is going to happen to the shards, in sentences."""
    if redone:
        shards = ", ".join(shard_name(p) for p in redone[:5])
        more = f" and {len(redone) - 5} more" if len(redone) > 5 else ""
        yield (
            f"{len(settled.changed):,} inputs have changed or are gone: {shards}{more} made again"
        )
    if settled.num_added:
        yield (
            f"{settled.num_added:,} inputs are new: from {shard_name(settled.first_added)} on; "
            f"{num_kept:,} finished shards stay as they are"
        )
