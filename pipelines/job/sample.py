"""A few inputs, spread over all: what a forecast or a measurement tries."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.job.plan import ListingSummary, Plan, write_listing
from pipelines.sources.record import Record
from pipelines.sources.registry import SourceOptions


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Some inputs of many.

    Attributes:
        listing: all of them.
        records: those that are tried, none where there are no inputs.
    """

    listing: ListingSummary
    records: Sequence[Record]


def sample_of(inputs: Sequence[str], options: SourceOptions, *, num_samples: int) -> Sample:
    """Find all inputs and pick some of them, evenly spread, for they often come sorted by kind.

    Args:
        inputs: what the user typed.
        options: for the sources.
        num_samples: so many at most.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "listing.jsonl"
        listing = write_listing(path, inputs, options)
        plan = Plan(path, options, stream_lengths=dict.fromkeys(listing.streams, 0))
        total = listing.num_known
        places = sorted({total * i // num_samples for i in range(num_samples)}) if total else []
        found = [record for _, record in plan.records((i, i + 1) for i in places)]
    # Nothing has gone away from a listing that was just made.
    return Sample(listing=listing, records=[record for record in found if record is not None])
