"""What has become of one input since a job wrote it down: nothing, growth, loss, other bytes.

A stamp (size and time) that differs is a reason to look, not a change: a file that was touched but
holds the same bytes is the same input. Of manifests the listing holds a hash; of everything else
the rows that were made are compared with what would be read now.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from dvse.remote.patience import PATIENCE
from dvse.remote.remote_path import location
from pipelines.job.stored_rows import StoredRows, is_same
from pipelines.sources.contents import media_sha256
from pipelines.sources.entry import Entry
from pipelines.sources.registry import SourceOptions, make_source


@dataclass(frozen=True, kw_only=True)
class Known:
    """One input of a job: its entry, and an entry for each time that it grew.

    Attributes:
        positions: where they stand in the listing, rising.
        entries: in the same order; each begins where the one before ends.
        first_numbers: number of the first input of each.
    """

    positions: Sequence[int]
    entries: Sequence[Entry]
    first_numbers: Sequence[int]

    @property
    def count(self) -> int | None:
        """Inputs in it, `None` for a stream."""
        last = self.entries[-1]
        return None if last.count is None else last.first + last.count

    def number(self, index: int) -> int:
        """Return the number of the input at `index` of the container."""
        for entry, first in zip(reversed(self.entries), reversed(self.first_numbers), strict=True):
            if index >= entry.first:
                return first + index - entry.first
        raise IndexError(index)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What differs.

    Attributes:
        numbers: of inputs whose rows are not what they would be now.
        num_added: inputs behind all that were known.
        num_gone: inputs missing at the end.
    """

    numbers: Sequence[int] = ()
    num_added: int = 0
    num_gone: int = 0


def change(known: Known, now: Entry, rows: StoredRows, options: SourceOptions) -> Change:
    """Compare an input with what it holds now; both can be opened.

    Args:
        known: as the job wrote it down.
        now: as it was just found.
        rows: what was made of it.
        options: for the sources.
    """
    was = known.entries[-1]
    if _shown(was, known.count) == _shown(now, now.count):
        return Change()
    if known.count is None or now.count is None:
        return Change()  # a stream is compared as it is read
    kept = min(known.count, now.count)
    return Change(
        numbers=_changed(known, now, kept, rows, options),
        num_added=max(now.count - known.count, 0),
        num_gone=max(known.count - now.count, 0),
    )


def _shown(entry: Entry, count: int | None) -> tuple[object, ...]:
    """What is the same where nothing speaks for a change."""
    return (
        *(entry.stamp, entry.caption_stamp, entry.members, count, entry.kind, entry.caption),
        *(entry.media_sha256, entry.label),
    )


def _changed(
    known: Known, now: Entry, kept: int, rows: StoredRows, options: SourceOptions
) -> list[int]:
    made = [n for n in map(known.number, range(kept)) if rows.get(n) is not None]
    was = known.entries[-1]
    if not made:
        return []
    if was.kind != now.kind:
        return made
    if now.sha256 is not None:
        # The lines of a manifest name files that lie elsewhere, or parts of them: only the same
        # lines are surely the same inputs, unless one of those files was touched.
        if not _begins_with(now, was):
            return made
        if _media_sha256(now, kept, options) == was.media_sha256:
            return []
    changed = []
    wanted = iter(made)
    number = next(wanted, None)
    try:
        source = make_source(now.kind, options)
        records = PATIENCE.items(lambda num: source.records(now, num))
        for index, record in zip(range(kept), records, strict=False):
            if number is None:
                break
            if known.number(index) != number:
                continue
            row = rows.get(number)
            if row is None or not is_same(row, record):
                changed.append(number)
            number = next(wanted, None)
    except Exception:  # any library may raise anything on a damaged container
        pass
    # What could not be read for comparison is not the same.
    return changed if number is None else [*changed, number, *wanted]


def _media_sha256(now: Entry, count: int, options: SourceOptions) -> str | None:
    try:
        return media_sha256(make_source(now.kind, options).records(now), count)
    except Exception:  # any library may raise anything on a damaged container
        return None


def _begins_with(now: Entry, was: Entry) -> bool:
    """Whether a manifest holds the lines that it held before, and perhaps more behind them."""
    if was.sha256 is None or was.stamp is None or now.stamp is None:
        return False
    if was.stamp.size == now.stamp.size:
        return was.sha256 == now.sha256
    with location(now.path).open("rb") as file:
        head = file.read(was.stamp.size)
        ended = head.endswith((b"\n", b"\r")) or file.read(1) in (b"\n", b"\r")
    return ended and hashlib.sha256(head).hexdigest() == was.sha256
