"""`--dry-run`: what a job would do, and a guess at its time and size from a few inputs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from dvse.remote.remote_path import Location
from dvse.storage.shard import write_shard
from pipelines.engines.engine import Engine, Numbered
from pipelines.job.comparison import Comparison
from pipelines.job.open_journal import open_journal
from pipelines.job.plan import ListingSummary, Plan, write_listing
from pipelines.job.reconciliation import differences
from pipelines.job.stored_rows import StoredRows
from pipelines.job.summary import duration
from pipelines.sources.registry import SourceOptions
from pipelines.steps.step import Step

_SAMPLES, _SHOWN = 24, 10


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a job would do.

    Attributes:
        listing: the inputs.
        num_sampled: inputs that were tried.
        num_failed: of them, those that failed.
        num_refused: of them, those that filters on media refused.
        num_ids: ids of the sample's rows.
        num_bytes: of a shard of the sample.
        seconds: for the sample on one process, start-up not counted.
        differing: from the inputs of the job that was begun in the same directory.
    """

    listing: ListingSummary
    shard_size: int
    num_sampled: int
    num_failed: int
    num_ids: int
    num_bytes: int
    seconds: float
    num_refused: int = 0
    differing: tuple[str, ...] = ()

    def table(self) -> str:
        """Return it as lines for people."""
        lines = [
            f"{kind:10}{count:12,} inputs" for kind, count in sorted(self.listing.by_kind.items())
        ]
        if self.listing.streams:
            lines.append(f"{len(self.listing.streams)} streams, counted only by reading them")
        total = self.listing.num_known
        shards = -(-total // self.shard_size)
        lines.append(
            f"{'all':10}{total:12,} inputs, {self.listing.num_bytes / 1e6:,.1f} MB, "
            f"in {shards:,} shards of up to {self.shard_size:,}"
        )
        lines += self.listing.left_out.lines()
        if self.num_sampled:
            scale = total / self.num_sampled
            lines.append(
                f"a sample of {self.num_sampled} took {duration(self.seconds)} and failed "
                f"{self.num_failed} times; at that rate: about {self.num_ids * scale:,.0f} ids, "
                f"{self.num_bytes * scale / 1e6:,.1f} MB of shards, "
                f"{self.num_failed * scale:,.0f} errors, {duration(self.seconds * scale)}"
            )
            if self.num_refused:
                lines.append(
                    f"filters on media refused {self.num_refused} of the sample: about "
                    f"{self.num_refused * scale:,.0f}"
                )
        if self.differing:
            shown = [f"  {line}" for line in self.differing[:_SHOWN]]
            more = len(self.differing) - len(shown)
            lines += ["not the inputs of the job that was begun there:", *shown]
            lines += [f"  and {more} more"] if more else []
        lines.append("nothing was written")
        return "\n".join(lines)


def estimate(
    inputs: Sequence[str],
    options: SourceOptions,
    step: Step,
    engine: Engine,
    *,
    shard_size: int,
    output: Location | None = None,
) -> Estimate:
    """Find all inputs as the job would, do a few of them, and write nothing.

    Args:
        inputs: what the user typed.
        options: for the sources.
        step: what is done.
        engine: where.
        shard_size: inputs a shard.
        output: of the job; never searched, and compared with where a job was begun there.

    Raises:
        DvseError: the step cannot be opened.
    """
    with TemporaryDirectory() as folder, engine:
        path = Path(folder) / "listing.jsonl"
        listing = write_listing(path, inputs, options, skip=output)
        plan = Plan(path, options, stream_lengths=dict.fromkeys(listing.streams, 0))
        total = listing.num_known
        # Spread over all inputs, since they often come sorted by kind.
        places = sorted({total * i // _SAMPLES for i in range(_SAMPLES)}) if total else []
        picked = [(i, r) for i, r in plan.records((i, i + 1) for i in places) if r is not None]
        description = engine.open(step)
        began = time.monotonic()
        numbered = (Numbered(partition=0, index=i, record=r) for i, r in islice(picked, _SAMPLES))
        outcomes = list(engine.run(numbered))
        seconds = time.monotonic() - began
        rows = [o.row for o in outcomes if o.row is not None and not o.is_refused]
        shard = Path(folder) / "shard.parquet"
        write_shard(shard, rows, schema=description.schema, metadata=description.metadata)
        return Estimate(
            listing=listing,
            shard_size=shard_size,
            num_sampled=len(outcomes),
            num_failed=sum(outcome.failure is not None for outcome in outcomes),
            num_refused=sum(outcome.is_refused for outcome in outcomes),
            num_ids=sum(len(row.get("ids", ())) for row in rows),
            num_bytes=shard.stat().st_size,
            seconds=seconds,
            differing=_differing(output, path, options, shard_size) if output else (),
        )


def _differing(
    output: Location, found: Path, options: SourceOptions, shard_size: int
) -> tuple[str, ...]:
    """How the inputs differ from those of the job in the directory, where there is one."""
    journal = open_journal(output)
    if not journal.exists() or not (markers := journal.markers()):
        return ()
    comparison = Comparison(
        journal.listing,
        found,
        rows=StoredRows(journal, markers, shard_size),
        options=options,
        stream_lengths=journal.stream_lengths(),
    )
    return tuple(differences(comparison))
