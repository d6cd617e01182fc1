"""How the inputs of a job's listing are numbered.

Numbers never move. What was added later begins with a partition of its own, so the one before it
may be short; what went away leaves a hole. So there may be more numbers than inputs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.sources.entry import BOUNDARY, HOLE, SINGLES

_ONE = tuple(f'["{kind}",' for kind in sorted(SINGLES))


@dataclass(frozen=True, kw_only=True)
class Numbering:
    """What numbers a listing gives out.

    Attributes:
        num_numbers: all of them; `None` while a stream's length is not known.
        num_inputs: those that an input has; `None` likewise.
        holes: half-open ranges of numbers whose input went away.
    """

    num_numbers: int | None
    num_inputs: int | None
    holes: tuple[range, ...]

    @classmethod
    def of(cls, listing: Path, stream_lengths: Mapping[int, int]) -> "Numbering":
        """Count the entries of a listing, given the lengths of streams read before."""
        first, num_gaps, is_known = 0, 0, True
        holes = []
        with listing.open(encoding="ascii") as file:
            for position, line in enumerate(file):
                if line.startswith(_ONE):
                    first += 1  # of a million lines nearly all: nothing more is looked at
                    continue
                kind, _, _, count, *_ = json.loads(line)
                if count is None:
                    is_known = is_known and position in stream_lengths
                    count = stream_lengths.get(position, 0)
                if kind in (HOLE, BOUNDARY):
                    num_gaps += count
                if kind == HOLE:
                    holes.append(range(first, first + count))
                first += count
        return cls(
            num_numbers=first if is_known else None,
            num_inputs=first - num_gaps if is_known else None,
            holes=tuple(holes),
        )

    def is_hole(self, number: int) -> bool:
        """Whether the input of this number went away."""
        return any(number in hole for hole in self.holes)

    def num_inputs_of(self, partitions: range, size: int) -> int:
        """Return how many inputs some partitions side by side have, of `size` numbers each."""
        assert self.num_numbers is not None
        first, end = (min(p * size, self.num_numbers) for p in (partitions.start, partitions.stop))
        gone = sum(len(range(max(h.start, first), min(h.stop, end))) for h in self.holes)
        return end - first - gone

    def num_partitions(self, size: int) -> int | None:
        """Return how many partitions of `size` numbers there are, `None` if that is not known."""
        return None if self.num_numbers is None else -(-self.num_numbers // size)
