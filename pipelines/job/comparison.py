"""A job's listing beside what is found now: what is new, changed, gone, can be opened again."""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from pipelines.job.changes import Change, Known, change
from pipelines.job.listing_match import match_lines
from pipelines.job.stored_rows import StoredRows
from pipelines.sources.entry import BOUNDARY, FAILURES, GAPS, SINGLES, Entry
from pipelines.sources.registry import SourceOptions

_ONE = tuple(f'["{kind}",' for kind in sorted(SINGLES))


class Comparison:
    """Made of two listings; of lines that are the same in both little is held in memory.

    Attributes:
        num_numbers: that the job has given out.
        has_stream: whether one of its entries is a stream.
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
        self.num_numbers = 0
        self.has_stream = self.has_open_stream = self.is_reordered = False
        self.added: list[Entry] = []
        self.changes: list[tuple[Known, Entry, Change]] = []
        self.revived: list[tuple[Known, Entry]] = []
        self.lost: list[tuple[Known, Entry]] = []
        # What is held: entries that are not the same, by their position in the listing.
        self._entries: dict[int, Entry] = {}
        self._first_numbers: dict[int, int] = {}
        self._boundaries: list[int] = []
        self._last_position: dict[int, int] = {}
        same = match_lines(listing, found)
        self._read(listing, _marked(same), stream_lengths)
        known = self._known()
        with found.open(encoding="ascii") as file:
            for position, line in zip(map(int, same), file, strict=True):
                if position >= 0 and position not in self._entries:
                    self._note_order(position)
                else:
                    self._look_at(Entry.from_json(line), known, rows, options)
        self.gone = [match for waiting in known.values() for match in waiting]
        self._find_lost_folders()

    def _read(self, listing: Path, same: bytes, stream_lengths: Mapping[int, int]) -> None:
        """Number the entries of the job and hold those that are not the same."""
        grown = _grown(listing)
        with listing.open(encoding="ascii") as file:
            for position, line in enumerate(file):
                is_same = position < len(same) and same[position]
                if is_same and line.startswith(_ONE):
                    self.num_numbers += 1
                    continue
                entry = Entry.from_json(line)
                length = stream_lengths.get(position) if entry.count is None else entry.count
                self.has_stream |= entry.count is None
                self.has_open_stream |= length is None
                if entry.kind == BOUNDARY:
                    self._boundaries.append(position)
                elif not is_same or (entry.path, entry.name) in grown:
                    self._entries[position] = entry
                    self._first_numbers[position] = self.num_numbers
                self.num_numbers += length or 0

    def _note_order(self, position: int) -> None:
        """Inputs that came together keep their order; what came later may stand between them."""
        segment = bisect_right(self._boundaries, position)
        self.is_reordered |= self._last_position.get(segment, -1) > position
        self._last_position[segment] = position

    def _look_at(
        self,
        entry: Entry,
        known: Mapping[tuple[str, str], "deque[Known]"],
        rows: StoredRows,
        options: SourceOptions,
    ) -> None:
        waiting = known.get((entry.path, entry.name))
        if not waiting:
            self.added.append(entry)
            return
        match = waiting.popleft()
        self._note_order(match.positions[0])
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
                    entries=[self._entries[p] for p in group],
                    first_numbers=[self._first_numbers[p] for p in group],
                )
                for group in groups
            )
            for key, groups in self._grouped().items()
        }

    def _grouped(self) -> dict[tuple[str, str], list[list[int]]]:
        """Path and name → positions of each input, one for each time that it grew."""
        grouped: dict[tuple[str, str], list[list[int]]] = defaultdict(list)
        for position, entry in self._entries.items():
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
            last = self._entries[group[-1]]
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


def _marked(positions: np.ndarray) -> bytes:
    """A byte for each position, 1 where it is among these."""
    marks = np.zeros(positions.max(initial=-1) + 1, dtype=np.uint8)
    marks[positions[positions >= 0]] = 1
    return marks.tobytes()


def _grown(listing: Path) -> set[tuple[str, str]]:
    """Path and name of inputs that have an entry for each time that they grew."""
    found = set()
    with listing.open(encoding="ascii") as file:
        for line in file:
            if not line.startswith(_ONE) and (entry := Entry.from_json(line)).first:
                found.add((entry.path, entry.name))
    return found
