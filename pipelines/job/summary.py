"""The summary of a job: what came of the inputs, in figures and as a table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.sources.contents import LeftOut

if TYPE_CHECKING:
    from pipelines.job.done_marker import DoneMarker  # loads pyarrow, which progress has no use for


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of a job.

    Attributes:
        num_inputs: in finished partitions: rows, errors and filtered ones together.
        num_partitions: finished ones.
        by_modality: modality → [rows, ids].
        by_error: exception type → inputs.
        new_inputs: of them, those that this run has done.
        seconds: of this run, start-up and planning included.
        work_seconds: of this run, from the first input handed out to the last shard.
        stopped_by: name of the signal that ended the run early.
        fruitless: data sets of which not one input gave a row.
        repaired: partitions whose shard was corrupt or missing and was made again.
        num_missing: partitions that are left for other parts of the job, or for another run.
        num_filtered: inputs that a filter refused.
        by_filter: filter → inputs that it refused, for every filter of the job.
        left_out: what was found among the inputs and is not used.
    """

    num_inputs: int
    num_rows: int
    num_errors: int
    num_ids: int
    num_partitions: int
    by_modality: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    by_error: Mapping[str, int] = field(default_factory=dict)
    new_inputs: int = 0
    seconds: float = 0.0
    work_seconds: float = 0.0
    stopped_by: str | None = None
    fruitless: tuple[str, ...] = ()
    repaired: tuple[int, ...] = ()
    num_missing: int = 0
    num_filtered: int = 0
    by_filter: Mapping[str, int] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)

    @classmethod
    def of(
        cls, markers: "Iterable[DoneMarker]", *, filters: Sequence[str] = (), **rest: Any
    ) -> "Summary":
        """Add up done-markers of a job with some filters."""
        markers = list(markers)
        refused = dict.fromkeys(filters, 0)
        modality: dict[str, list[int]] = {}
        errors: Counter[str] = Counter()
        for marker in markers:
            errors.update(marker.by_error)
            for name, count in marker.by_filter.items():
                refused[name] = refused.get(name, 0) + count
            for name, (rows, ids) in marker.by_modality.items():
                total = modality.setdefault(name, [0, 0])
                total[0] += rows
                total[1] += ids
        return cls(
            num_inputs=sum(m.num_inputs for m in markers),
            num_rows=sum(m.num_rows for m in markers),
            num_errors=sum(m.num_errors for m in markers),
            num_ids=sum(m.num_ids for m in markers),
            num_partitions=len(markers),
            by_modality={k: (v[0], v[1]) for k, v in sorted(modality.items())},
            by_error=dict(errors.most_common()),
            num_filtered=sum(refused.values()),
            by_filter=refused,
            **rest,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    def table(self) -> str:
        """Return the summary as a table for people."""
        lines = [f"{'':10}{'rows':>12}{'ids':>16}"]
        for name, (rows, ids) in self.by_modality.items():
            lines.append(f"{name:10}{rows:12,}{ids:16,}")
        lines.append(f"{'all':10}{self.num_rows:12,}{self.num_ids:16,}")
        if self.num_errors:
            kinds = ", ".join(f"{count:,} {name}" for name, count in self.by_error.items())
            lines.append(f"{'errors':10}{self.num_errors:12,}  {kinds} (see errors.jsonl)")
        if self.by_filter:
            kinds = ", ".join(f"{count:,} {name}" for name, count in self.by_filter.items())
            lines.append(f"{'filtered':10}{self.num_filtered:12,}  {kinds} (see filtered.jsonl)")
        lines += self.left_out.lines()
        rate = f", {self.new_inputs / self.work_seconds:,.1f} a second" if self.work_seconds else ""
        lines.append(
            f"{self.num_inputs:,} inputs in {self.num_partitions:,} shards; {self.new_inputs:,} "
            f"of them now, in {duration(self.seconds)}{rate}"
        )
        if self.num_missing:
            lines.append(f"{self.num_missing:,} shards are not made yet")
        return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return a duration for people.

    >>> duration(3.25), duration(75), duration(7300)
    ('3.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
