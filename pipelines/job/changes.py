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
from pipelines.job.stored_rows import StoredRows, is_readable, is_same
from pipelines.sources.contents import media_sha256
from pipelines.sources.entry import SINGLES, Entry
from pipelines.sources.record import Record
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
        recovered: numbers of inputs that failed, and might not now.
        num_added: inputs behind all that were known.
        num_gone: inputs missing at the end.
    """

    numbers: Sequence[int] = ()
    recovered: Sequence[int] = ()
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
    numbers, recovered = _changed(known, now, kept, rows, options)
    return Change(
        numbers=numbers,
        recovered=recovered,
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
) -> tuple[list[int], list[int]]:
    """The inputs that would give another row now, and those that failed and might not now."""
    numbers = [known.number(index) for index in range(kept)]
    made = [n for n in numbers if rows.get(n) is not None]
    failed = [n for n in numbers if rows.error(n) is not None]
    was = known.entries[-1]
    if was.kind != now.kind:
        return made, failed
    if now.sha256 is not None:
        # The lines of a manifest name files that lie elsewhere, or parts of them: only the same
        # lines are surely the same inputs, unless one of those files was touched.
        if not _begins_with(now, was):
            return made, failed
        if _media_sha256(now, kept, options) == was.media_sha256:
            return [], []
    changed, recovered = [], []
    wanted = iter(sorted([*made, *failed]))
    number = next(wanted, None)
    try:
        source = make_source(now.kind, options)
        records = PATIENCE.items(lambda num: source.records(now, num))
        for at, record in zip(numbers, records, strict=False):
            if number is None:
                break
            if at != number:
                continue
            row = rows.get(number)
            if row is None:
                recovered += [number] * _might_succeed(record, number, rows, was, now)
            elif not is_same(row, record):
                changed.append(number)
            number = next(wanted, None)
    except Exception:  # any library may raise anything on a damaged container
        pass
    # What could not be read for comparison is not the same.
    left = [] if number is None else [number, *wanted]
    return [*changed, *(n for n in left if n not in failed)], recovered


def _might_succeed(record: Record, number: int, rows: StoredRows, was: Entry, now: Entry) -> bool:
    """Whether an input that failed might not any more: its bytes can be had, or are others.

    Of what could be read then and not decoded no hash is kept: of a file of its own the size tells,
    what lies in a container is tried again with `--retry-errors`.
    """
    error = rows.error(number)
    if error is not None and error.stage in ("list", "read"):
        return is_readable(record)
    return (
        was.kind in SINGLES
        and was.stamp is not None
        and (now.stamp is None or was.stamp.size != now.stamp.size)
    )


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
