"""A job's listing beside what is found now: what is new, changed, gone, can be opened again."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pipelines.job.changes import Change, Known, change
from pipelines.job.plan import read_listing
from pipelines.job.stored_rows import StoredRows
from pipelines.sources.entry import BOUNDARY, FAILURES, GAPS, Entry
from pipelines.sources.registry import SourceOptions


class Comparison:
    """Made of two listings; needs memory for all their entries.

    Attributes:
        entries: of the job's listing.
        num_numbers: that the job has given out.
        has_open_stream: whether a stream's length is not known yet.
        added: found now, not in the job.
        changes: in both, with what differs.
        revived: could not be opened then, can be now.
        lost: could be opened then, cannot be now.
        gone: in the job, not found now.
        is_reordered: the same inputs in another order.
    """

    def __init__(
        self,
        listing: Path,
        found: Path,
        *,
        rows: StoredRows,
        options: SourceOptions,
        stream_lengths: Mapping[int, int],
    ) -> None:
        self.entries = list(read_listing(listing))
        self.has_open_stream = False
        self._first_numbers: list[int] = []
        self._segments: list[int] = []
        number = segment = 0
        for position, entry in enumerate(self.entries):
            length = stream_lengths.get(position) if entry.count is None else entry.count
            self.has_open_stream |= length is None
            segment += entry.kind == BOUNDARY
            self._first_numbers.append(number)
            self._segments.append(segment)
            number += length or 0
        self.num_numbers = number
        self.added: list[Entry] = []
        self.changes: list[tuple[Known, Entry, Change]] = []
        self.revived: list[tuple[Known, Entry]] = []
        self.lost: list[tuple[Known, Entry]] = []
        self.is_reordered = False
        known = self._known()
        self._look_at(read_listing(found), known, rows, options)
        self.gone = [match for waiting in known.values() for match in waiting]
        self._find_lost_folders()

    def _look_at(
        self,
        found: Iterable[Entry],
        known: Mapping[tuple[str, str], "deque[Known]"],
        rows: StoredRows,
        options: SourceOptions,
    ) -> None:
        last: dict[int, int] = {}
        for entry in found:
            waiting = known.get((entry.path, entry.name))
            if not waiting:
                self.added.append(entry)
                continue
            match = waiting.popleft()
            # Inputs that came together keep their order; what came later may stand between them.
            position = match.positions[0]
            segment = self._segments[position]
            self.is_reordered |= last.get(segment, -1) > position
            last[segment] = position
            had_failed, has_failed = match.entries[0].kind in FAILURES, entry.kind in FAILURES
            if had_failed and not has_failed:
                self.revived.append((match, entry))
            elif has_failed and not had_failed:
                self.lost.append((match, entry))
            elif not had_failed:
                self.changes.append((match, entry, change(match, entry, rows, options)))

    def _known(self) -> dict[tuple[str, str], "deque[Known]"]:
        """The inputs of the job by path and name; one that was named twice is there twice."""
        return {
            key: deque(
                Known(
                    positions=group,
                    entries=[self.entries[p] for p in group],
                    first_numbers=[self._first_numbers[p] for p in group],
                )
                for group in groups
            )
            for key, groups in self._grouped().items()
        }

    def _grouped(self) -> dict[tuple[str, str], list[list[int]]]:
        """Path and name → positions of each input, one for each time that it grew."""
        grouped: dict[tuple[str, str], list[list[int]]] = defaultdict(list)
        for position, entry in enumerate(self.entries):
            if entry.kind in GAPS:
                continue
            groups = grouped[entry.path, entry.name]
            before = next(self._growing(groups, entry.first), None) if entry.first else None
            if before is None:
                groups.append([position])
            else:
                before.append(position)
        return grouped

    def _growing(self, groups: Iterable[list[int]], first: int) -> Iterator[list[int]]:
        for group in groups:
            last = self.entries[group[-1]]
            if last.first + (last.count or 0) == first:
                yield group

    def _find_lost_folders(self) -> None:
        """What lay in a folder that cannot be read now, or is empty all at once, is not gone."""
        folders = [entry for entry in self.added if entry.kind in FAILURES]
        for folder in folders:
            inside = [k for k in self.gone if k.entries[0].path.startswith(folder.path + "/")]
            if inside:
                self.lost += [(known, folder) for known in inside[:1]]
                self.added.remove(folder)
