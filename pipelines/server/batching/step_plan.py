"""What one forward pass does, as plain integers: it can be sent to another process as it is."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Run:
    """Neighbouring rows of a step that belong to one answer.

    Attributes:
        rows: how many.
        start: where the answer's span begins in the cache.
        stop: position after the last row, so that the rows see `stop` keys.
    """

    rows: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Copy:
    """`length` tokens of the cache from one place to another."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Whose attention of a step is wanted, and to what.

    Attributes:
        first_row: of the step's only run; this row and those after it.
        seen: half-open range of positions of the same row.
    """

    first_row: int
    seen: tuple[int, int]


@dataclass(kw_only=True)
class StepPlan:
    """One forward pass over tokens of many answers side by side.

    Attributes:
        ids, positions, places: of each row: its id, its position in its answer, its place in the
            cache.
        runs: whose the rows are, in order; runs of one row come first.
        kept: rows whose logits are wanted.
        copies: done before the pass.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)

    def add_run(self, ids: list[int], *, first_position: int, start: int, keep_last: bool) -> None:
        """Append neighbouring tokens of one answer."""
        positions = range(first_position, first_position + len(ids))
        self.ids += ids
        self.positions += positions
        self.places += range(start + first_position, start + first_position + len(ids))
        self.runs.append(Run(rows=len(ids), start=start, stop=first_position + len(ids)))
        if keep_last:
            self.kept.append(len(self.ids) - 1)
