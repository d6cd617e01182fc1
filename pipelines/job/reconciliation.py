"""With which listing a job goes on whose inputs are not those that it was begun with.

Numbers never move. What is new gets partitions of its own behind all others, what went away leaves
a hole, and neither happens unless it was asked for; else the job is refused, with the names.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dvse.errors import ResumeError
from pipelines.job.comparison import Comparison
from pipelines.job.permissions import Permissions
from pipelines.sources.entry import BOUNDARY, FAILURES, HOLE, Entry, Stamp
from pipelines.sources.record import utf8_name

_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """The listing with which the job goes on.

    Attributes:
        replaced: position in the listing of before → the entries that stand there now.
        behind: entries behind all others.
        changed: numbers of inputs whose partitions have to be made again.
        num_added: inputs that were taken in, streams not counted.
        first_added: the first partition of theirs.
    """

    replaced: Mapping[int, Sequence[Entry]]
    behind: Sequence[Entry]
    changed: Sequence[int]
    num_added: int
    first_added: int

    def lines(self, listing: Path) -> Iterator[str]:
        """Yield the lines of the new listing, given the one of before."""
        with listing.open(encoding="ascii") as file:
            for position, line in enumerate(file):
                if position in self.replaced:
                    yield from (f"{entry.to_json()}\n" for entry in self.replaced[position])
                else:
                    yield line
        yield from (f"{entry.to_json()}\n" for entry in self.behind)


def reconcile(comparison: Comparison, *, size: int, may: Permissions) -> Reconciled:
    """Return the listing with which a job goes on.

    Args:
        comparison: of its listing with what is found now.
        size: numbers a partition.
        may: what the user asked for.

    Raises:
        ResumeError: something differs that may not; each difference is a line.
    """
    _refuse_unless(comparison, may)
    slots: dict[int, list[Entry]] = {}
    changed: list[int] = []
    added = list(comparison.added)
    for known, now, what in comparison.changes:
        changed += what.numbers
        if may.redo_changed:
            changed += what.recovered
        kept = known.count if known.count is None else known.count - what.num_gone
        if what.recovered and not (may.redo_changed or may.retry_errors):
            # Written down as it was, what is left to be tried again is noticed by verify.
            was = known.entries[-1]
            now = now._replace(stamp=was.stamp, sha256=was.sha256, media_sha256=was.media_sha256)
        for position, entry in zip(known.positions, known.entries, strict=True):
            slots[position] = _kept(now._replace(first=entry.first, count=entry.count), kept)
        if what.num_gone and kept is not None:
            changed += [known.number(kept + i) for i in range(what.num_gone)]
        if what.num_added and known.count is not None:
            added.append(now._replace(first=known.count, count=what.num_added))
    for known in comparison.gone:
        if known.entries[0].kind not in FAILURES:
            changed += [known.number(i) for i in range(known.count or 0)]
        for position, entry in zip(known.positions, known.entries, strict=True):
            slots[position] = [_hole(entry.count)]
    for known, now in comparison.revived:
        # One input takes the place of the one that failed; more have to stand behind all others.
        is_one = now.count == 1
        slots[known.positions[0]] = [now if is_one else _hole(1)]
        added += [] if is_one else [now]
    short = -comparison.num_numbers % size
    boundary = Entry(kind=BOUNDARY, path="", name="", count=short)
    return Reconciled(
        replaced=slots,
        behind=[boundary, *added] if added else [],
        changed=sorted(changed),
        num_added=sum(entry.count or 0 for entry in added),
        first_added=-(-comparison.num_numbers // size),
    )


def differences(comparison: Comparison) -> list[str]:
    """Return what differs, a line each."""
    nothing = Permissions()
    return [
        *_lost(comparison),
        *_changed(comparison),
        *_revived(comparison),
        *_recovered(comparison, nothing),
        *_added(comparison, nothing),
    ]


def _kept(entry: Entry, kept: int | None) -> list[Entry]:
    """An entry of a container of which only the first inputs are still there."""
    if kept is None or entry.count is None or entry.first + entry.count <= kept:
        return [entry]
    left = max(kept - entry.first, 0)
    hole = _hole(entry.count - left)
    return [entry._replace(count=left), hole] if left else [hole]


def _hole(count: int | None) -> Entry:
    return Entry(kind=HOLE, path="", name="", count=count)


def _refuse_unless(found: Comparison, may: Permissions) -> None:
    lines: list[str] = []
    ways: list[str] = []
    for is_allowed, way, differing in (
        (False, "", [*_lost(found), *_split(found)]),
        (may.redo_changed, "--redo-changed to do their partitions again", [*_changed(found)]),
        (may.retry_errors, "--retry-errors to do what failed before", [*_revived(found)]),
        (
            may.retry_errors or may.redo_changed,
            "--retry-errors to do what failed before",
            [*_recovered(found, may)],
        ),
        (may.append, "--append to add what is new", [*_added(found, may)]),
    ):
        if differing and not is_allowed:
            lines += differing
            ways += [way] if way and way not in ways else []
    if not lines and found.is_reordered:
        lines = ["the same inputs in another order"]
    if not lines and found.has_open_stream and (found.added or found.revived):
        lines = ["a stream is not read to its end yet; finish the job first, then let it grow"]
    if lines:
        more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        either = "or " if ways else ""
        last = f"{either}use another --output, or pass --overwrite to start again"
        hint = "; ".join([*ways, last])
        what = f"the inputs are not those that this job was begun with; {hint}"
        raise ResumeError("\n  ".join([what, *lines[:_SHOWN], *more]))


def _lost(found: Comparison) -> Iterator[str]:
    for known, now in found.lost:
        assert now.failure is not None
        before = f"{known.count:,} inputs" if known.count != 1 else "an input"
        yield f"{utf8_name(now.path)}: {before} before, cannot be opened now ({now.failure.reason})"


def _split(found: Comparison) -> Iterator[str]:
    """Holes inside a listing would move the places of its streams."""
    if found.has_stream:
        for _, now, what in found.changes:
            if what.num_gone:
                yield f"shrunk: {utf8_name(now.path)}, which a job with streams cannot take"


def _changed(found: Comparison) -> Iterator[str]:
    for known in found.gone:
        if known.entries[0].kind not in FAILURES:
            yield f"removed: {utf8_name(known.entries[0].path)}"
    for known, now, what in found.changes:
        path, was = utf8_name(now.path), known.entries[-1].stamp
        if what.num_gone:
            yield f"shrunk: {path} ({known.count:,} inputs before, {now.count:,} now)"
        elif what.numbers and was == now.stamp:
            yield f"changed: {path} ({len(what.numbers):,} of its inputs: files, labels or texts)"
        elif what.numbers:
            yield f"changed: {path} ({_size(was)} before, {_size(now.stamp)} now)"


def _revived(found: Comparison) -> Iterator[str]:
    for _, now in found.revived:
        count = "a stream" if now.count is None else f"{now.count:,} inputs"
        yield f"failed before, can be opened now: {utf8_name(now.path)} ({count})"
    for known in found.gone:
        if known.entries[0].kind in FAILURES:
            yield f"failed before, is gone now: {utf8_name(known.entries[0].path)}"


def _recovered(found: Comparison, may: Permissions) -> Iterator[str]:
    for _, now, what in found.changes:
        if what.recovered and not (may.append and what.num_added):
            count = f"{len(what.recovered):,} of its inputs" if now.count != 1 else "an input"
            yield f"failed before, might not now: {utf8_name(now.path)} ({count})"


def _added(found: Comparison, may: Permissions) -> Iterator[str]:
    failed = [
        known.entries[0].path + "/"
        for known in found.gone
        if may.retry_errors and known.entries[0].kind in FAILURES
    ]
    for entry in found.added:
        # What lies in a folder that could not be read before is what failed then.
        if not any(entry.path.startswith(folder) for folder in failed):
            yield f"added: {utf8_name(entry.path)}"
    for known, now, what in found.changes:
        if what.num_added:
            yield f"grown: {utf8_name(now.path)} ({known.count:,} inputs before, {now.count:,} now)"


def _size(stamp: Stamp | None) -> str:
    return "missing" if stamp is None else f"{stamp.size} bytes"
