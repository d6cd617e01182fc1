"""How a run of a job begins: what was begun before, what the inputs are, what is left to do.

Whoever is alone in the directory looks at everything. A part that comes while others are at work
takes the plan that the first of them has made.
"""

import os
import time
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dvse.remote.address import is_address
from dvse.storage.shard import shard_name
from pipelines.filtering.work import FilterWork
from pipelines.job.comparison import Comparison
from pipelines.job.config import JobConfig
from pipelines.job.done_marker import DoneMarker, ErrorLine
from pipelines.job.journal import Journal
from pipelines.job.numbering import Numbering
from pipelines.job.plan import write_listing
from pipelines.job.progress import Progress
from pipelines.job.reconciliation import Reconciled, reconcile
from pipelines.job.resume import check_identity, check_profile
from pipelines.job.stop_request import StopRequest
from pipelines.job.stored_rows import StoredRows
from pipelines.sources.contents import LeftOut
from pipelines.sources.registry import HUB_PREFIX
from pipelines.sources.sightings import Sightings, are_unchanged
from pipelines.steps.step import Step

_TICK_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run that knows what it has to do.

    Attributes:
        before: what `job.json` says, `None` where no job was begun.
        identity: what two runs must share to be one job.
        inputs: what `job.json` is to say of the inputs.
        listing: with which it goes on; in force once `job.json` is written.
        numbering: of that.
        markers: of finished partitions, by number.
        again: failed inputs of finished partitions that are tried again, by partition.
        repaired: partitions that were finished and are damaged.
        is_joined: whether the plan is that of other parts, in force already.
        left_out: what was found among the inputs and is not used.
    """

    before: Mapping[str, Any] | None
    identity: Mapping[str, Any]
    inputs: Mapping[str, Any]
    listing: Path
    numbering: Numbering
    markers: dict[int, DoneMarker]
    again: Mapping[int, list[ErrorLine]]
    repaired: tuple[int, ...] = ()
    is_joined: bool = False
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def finished(self) -> dict[int, DoneMarker]:
        """Markers of the partitions of which nothing is left to do."""
        return {p: m for p, m in self.markers.items() if p not in self.again}

    def only(self, partitions: Container[int]) -> "Begun":
        """Return it as it is for some of the partitions."""
        return replace(
            self,
            markers={p: m for p, m in self.markers.items() if p in partitions},
            again={p: lines for p, lines in self.again.items() if p in partitions},
        )

    def left(self, partitions: Sequence[int]) -> list[int]:
        """Return those of some partitions of which something is left to do."""
        return [p for p in partitions if p not in self.markers or p in self.again]


class Beginning:
    """Finds out what is left to do.

    Args:
        config: the settings.
        step: what is done with each input.
        journal: of the job.
        filters: which inputs are left out.
        progress: told what happens.
        stop: asked whether to stop.
    """

    def __init__(
        self,
        config: JobConfig,
        step: Step,
        journal: Journal,
        *,
        filters: FilterWork,
        progress: Progress,
        stop: StopRequest,
    ) -> None:
        self._config, self._step, self._journal = config, step, journal
        self._filters, self._progress, self._stop = filters, progress, stop
        self._ticked = time.monotonic()
        self._of_step: dict[str, Any] | None = None

    def look_at_step(self) -> None:
        """See what the step is, before a folder is made.

        Raises:
            DvseError: it cannot be opened (no such bundle).
        """
        self._of_step = self._step.identity()

    def alone(self) -> Begun:
        """Look at everything; nobody else is at work here.

        Raises:
            ConfigError: shards are there that no job here has written.
            ResumeError: another bundle, other options or inputs than the job was begun with.
            StoppedAtOnce: somebody asked to stop while inputs were found.
        """
        journal, config = self._journal, self._config
        if config.overwrite:
            journal.erase()
        journal.refuse_strangers()
        journal.clean()
        identity = self._identity()
        before = journal.read_job() if journal.exists() else None
        if before is not None:
            check_identity(before["identity"], identity)
        listing_sha256, left_out = self._found(before)
        markers = journal.markers() if before is not None else {}
        repaired = self._forget_damaged(markers)
        journal.sweep(markers)
        listing = self._settle_inputs(before, listing_sha256, markers)
        numbering = Numbering.of(listing, journal.stream_lengths())
        return Begun(
            before=before,
            identity=identity,
            inputs={
                "listing_sha256": listing_sha256,
                "inputs": list(config.inputs),
                "inputs_at": _places(config.inputs),
                "num_inputs": numbering.num_inputs,
                "left_out": asdict(left_out),
                **config.source_options.notes(before or {}),
            },
            listing=listing,
            numbering=numbering,
            markers=markers,
            again=self._again(markers, numbering),
            repaired=repaired,
            left_out=left_out,
        )

    def joined(self) -> Begun:
        """Take the plan of the parts that are at work here.

        Raises:
            ResumeError: another bundle, other options or inputs than theirs.
        """
        journal, config = self._journal, self._config
        before, identity = journal.read_job(), self._identity()
        inputs = {"inputs": list(config.inputs), "inputs_at": _places(config.inputs)}
        check_identity(
            {**before["identity"], **{name: before.get(name) for name in inputs}},
            {**identity, **inputs},
        )
        numbering = Numbering.of(journal.listing, journal.stream_lengths())
        markers = journal.markers()
        return Begun(
            before=before,
            identity=identity,
            inputs=inputs,
            listing=journal.listing,
            numbering=numbering,
            markers=markers,
            again=self._again(markers, numbering),
            is_joined=True,
            left_out=LeftOut.from_json(before.get("left_out") or {}),
        )

    def take_up(self, begun: Begun, profile: Mapping[str, Any]) -> None:
        """Put the plan in force, once it is known what computes.

        Raises:
            ResumeError: the numerics profile is not the one that the job was begun with.
        """
        before = begun.before
        if before is not None:
            self._check_profile(before["profile"], profile)
        if not begun.is_joined:
            recorded = dict(profile) if before is None else before["profile"]
            head = {"identity": begun.identity, "profile": recorded}
            self._journal.write_job({**head, **self._step.notes(), **begun.inputs})

    def take_up_finished(self, begun: Begun) -> None:
        """The same where nothing is left to do, so that nothing heavy is loaded.

        Raises:
            ResumeError: the numerics profile is not the one that the job was begun with.
        """
        assert begun.before is not None
        recorded = begun.before["profile"]
        now = self._step.quick_profile(self._config.device, recorded)
        self._check_profile({name: recorded.get(name) for name in now}, now)
        if begun.listing != self._journal.listing:
            self._journal.write_job({**begun.before, **begun.inputs})

    def _check_profile(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        if not self._config.allow_numerics_drift:
            check_profile(before, now)

    def _identity(self) -> dict[str, Any]:
        return (self._of_step or self._step.identity()) | {
            "shard_size": self._config.shard_size,
            **self._config.source_options.identity(),
            **self._filters.identity(),
        }

    def _found(self, before: Mapping[str, Any] | None) -> tuple[str, LeftOut]:
        """Find the inputs; return the hash of their listing, and what is not used."""
        journal, config = self._journal, self._config
        is_trusted = (
            config.trust_folders
            and before is not None
            and before.get("inputs_at") == _places(config.inputs)
            and are_unchanged(journal.seen, before["listing_sha256"])
        )
        if is_trusted and before is not None:
            return before["listing_sha256"], LeftOut.from_json(before.get("left_out") or {})
        with self._stop.interrupting():
            found = write_listing(
                journal.found,
                config.inputs,
                config.source_options,
                skip=config.output,
                seen=Sightings(journal.seen_now, journal.seen),
                tick=self._tick,
            )
        journal.keep_seen()
        return found.sha256, found.left_out

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
            journal.found.unlink(missing_ok=True)
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
        redone = self._and_later({n // size for n in settled.changed} & markers.keys(), markers)
        for text in _announced(settled, redone, len(markers) - len(redone)):
            self._progress.note(text)
        # First the shards of what has changed stop counting, then the new listing counts: killed
        # in between, the job finds the change again.
        for partition in redone:
            journal.forget(partition)
            del markers[partition]
        journal.write_new_listing(settled.lines(journal.listing))
        journal.found.unlink()
        return journal.new_listing

    def _again(
        self, markers: dict[int, DoneMarker], numbering: Numbering
    ) -> dict[int, list[ErrorLine]]:
        """The failed inputs of finished partitions that are looked at again, by partition."""
        again = {}
        for partition, marker in markers.items():
            if marker.num_errors and (self._config.retry_errors or numbering.holes):
                lines = self._journal.errors(marker)
                if not self._config.retry_errors:
                    # An error line of an input that went away has nothing to say any more.
                    lines = [line for line in lines if numbering.is_hole(line.index)]
                if lines:
                    again[partition] = lines
        if not again or not self._filters.judge.remembers:
            return again
        # A row that comes late comes before those that it may be a duplicate of.
        for partition in self._and_later(again.keys(), markers):
            self._journal.forget(partition)
            del markers[partition]
        return {}

    def _and_later(self, some: Collection[int], markers: Mapping[int, DoneMarker]) -> list[int]:
        """Those of the finished partitions, and all behind them that were judged by them."""
        if not some or not self._filters.judge.remembers:
            return sorted(some)
        return [partition for partition in sorted(markers) if partition >= min(some)]

    def _tick(self, count: int) -> None:
        now = time.monotonic()
        if now - self._ticked >= _TICK_S:
            self._ticked = now
            self._progress.note(f"{count:,} files found so far")


def _places(inputs: Sequence[str]) -> list[str]:
    """Where inputs lie, whatever directory a part is started in."""
    return [
        one if one.startswith(HUB_PREFIX) or is_address(one) else os.path.abspath(one)  # noqa: PTH100
        for one in inputs
    ]


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
