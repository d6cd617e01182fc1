"""Do the inputs of a job still hold what it made of them? What `dvse verify` asks besides."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.job.comparison import Comparison
from pipelines.job.done_marker import DoneMarker
from pipelines.job.journal import Journal
from pipelines.job.plan import read_listing
from pipelines.job.reconciliation import differences
from pipelines.job.stored_rows import StoredRows
from pipelines.sources.contents import are_there
from pipelines.sources.entry import FAILURE, FAILURES, GAPS, UNOPENED, Entry, Stamp
from pipelines.sources.listing import Lister
from pipelines.sources.registry import SourceOptions, make_source


def differences_today(
    journal: Journal, markers: dict[int, DoneMarker], *, size: int, options: SourceOptions
) -> list[str]:
    """Return what has grown, shrunk, changed, or can be opened now and could not be before.

    Only what has another size or time is opened. Files that are gone are no difference: many people
    delete what they have tokenised.

    Args:
        journal: of the job.
        markers: of its finished partitions.
        size: numbers a partition.
        options: for the sources.
    """
    with TemporaryDirectory() as folder:
        found = Path(folder) / "found.jsonl"
        with found.open("w", encoding="ascii") as file:
            lister = Lister(options, skip=journal.output)
            for entry in _whole(journal.listing):
                file.write(_today(entry, lister, options).to_json() + "\n")
        comparison = Comparison(
            journal.listing,
            found,
            rows=StoredRows(journal, markers, size),
            options=options,
            stream_lengths=journal.stream_lengths(),
        )
    return differences(comparison)


def _whole(listing: Path) -> list[Entry]:
    """The inputs of a listing, those that grew in one piece."""
    whole: list[Entry] = []
    last: dict[tuple[str, str], int] = {}
    for entry in read_listing(listing):
        if entry.kind in GAPS:
            continue
        if entry.first and entry.count is not None:
            place = last[entry.path, entry.name]
            whole[place] = entry._replace(first=0, count=entry.first + entry.count)
        else:
            last[entry.path, entry.name] = len(whole)
            whole.append(entry)
    return whole


def _are_there(entry: Entry, options: SourceOptions) -> bool:
    """Whether the files that a manifest names are there, as far as it names any."""
    if entry.media_sha256 is None:
        return True
    return are_there(make_source(entry.kind, options).records(entry))


def _today(entry: Entry, lister: Lister, options: SourceOptions) -> Entry:
    """The entry as it would be listed now, itself where nothing speaks for a change."""
    caption_stamp = Stamp.of(entry.caption) if entry.caption else None
    stamp = Stamp.of(entry.path)
    is_same = (stamp, caption_stamp) == (entry.stamp, entry.caption_stamp)
    is_pointing = entry.media_sha256 is not None
    is_looked_at = entry.kind in (UNOPENED, "hub") or not (is_same or stamp is None) or is_pointing
    # What failed for where it lies (an unknown ending, a manifest inside a folder) has no stamp.
    is_misplaced = entry.kind == FAILURE and entry.stamp is None
    if entry.members or is_misplaced or not is_looked_at:
        return entry
    now = list(lister.entries([entry.path]))
    if not now or now[0].kind in FAILURES or (is_same and not _are_there(now[0], options)):
        return entry
    return now[0]._replace(
        path=entry.path,
        name=entry.name,
        # Of a folder that could not be read before all files count.
        count=now[0].count if len(now) == 1 else sum(e.count or 0 for e in now),
        caption=entry.caption,
        caption_stamp=caption_stamp,
        label=entry.label,
    )
