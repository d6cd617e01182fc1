"""`dvse inspect --filtered`: what `dvse tokenize --filter` or `dvse filter` left out, and why."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dvse.errors import InputError, ShardError
from dvse.remote.remote_path import Location
from dvse.storage.shard import read_shard
from pipelines.filtering.filtering import REFUSED_PATTERN, refused_shards
from pipelines.job.open_journal import open_journal
from pipelines.job.plan import Plan
from pipelines.reports.filtered_report import RefusedInput, first_of_each, write_filtered_report
from pipelines.sources.kinds import media_record
from pipelines.sources.loading import load
from pipelines.sources.record import Record, utf8_name
from pipelines.sources.registry import SourceOptions

Find = Callable[[Sequence[RefusedInput]], Mapping[str, Record]]
"""Refused inputs → their records by name, where they can be had."""

_ON_PAGE = 24


def show_filtered(path: Location, *, rows: int, name: str | None, html: Path | None) -> int:
    """Print what was refused, or write the page with pictures, players and texts.

    Raises:
        ShardError: nothing was ever filtered there.
        InputError: no refused input has the name.
    """
    refused, find = _of_job(path) or _of_shards(path)
    counts = dict(sorted(Counter(one.filter for one in refused).items()))
    if name is not None:
        refused = [one for one in refused if one.name == name]
        if not refused:
            raise InputError(f"{path}: no filter has refused an input of the name {name!r}")
    if html is not None:
        shown = first_of_each(refused, _ON_PAGE)
        records = find(shown)
        filled = [_filled(one, records.get(one.name)) for one in shown]
        write_filtered_report(html, str(path), counts, filled)
        return 0
    for kind, count in counts.items():
        print(f"{kind:24}{count:14,}")
    for one in refused[:rows]:
        print(f"\n{utf8_name(one.name)}: {one.modality}\n  {one.filter}: {one.reason}")
    return 0


def _of_job(path: Location) -> tuple[list[RefusedInput], Find] | None:
    """The lines of a job with filters; `None` where there is none."""
    if not path.is_dir() or not (journal := open_journal(path)).exists():
        return None
    job = journal.read_job()
    if "filters" not in job["identity"]:
        return None
    numbers: dict[str, int] = {}
    refused = []
    for _, marker in sorted(journal.markers().items()):
        for line in journal.filtered(marker):
            numbers[line.id] = line.index
            refused.append(_refused(asdict(line)))

    def find(some: Sequence[RefusedInput]) -> dict[str, Record]:
        options = SourceOptions.of_job(job)
        plan = Plan(journal.listing, options, stream_lengths=journal.stream_lengths())
        names = {numbers[one.name]: one.name for one in some}
        records = plan.records((number, number + 1) for number in sorted(names))
        return {names[number]: record for number, record in records if record is not None}

    return refused, find


def _of_shards(path: Location) -> tuple[list[RefusedInput], Find]:
    """Rows that `dvse filter` wrote."""
    paths: list[Location] = [path]
    if path.is_dir():
        paths = refused_shards(path)
    if not paths:
        raise ShardError(
            f"{path}: expected {REFUSED_PATTERN} written by dvse filter, or a job with filters "
            "(dvse tokenize --filter), found neither"
        )
    rows = list(_rows(paths))
    sources = {row["id"]: row["source"] for row in rows}

    def find(some: Sequence[RefusedInput]) -> dict[str, Record]:
        return {
            one.name: media_record(id=one.name, path=source, source=source)
            for one in some
            if (source := sources[one.name]) is not None and Path(source).is_file()
        }

    return [_refused(row) for row in rows], find


def _rows(paths: Sequence[Location]) -> Iterator[dict[str, Any]]:
    columns = ["id", "modality", "text", "source", "filter", "reason", "score"]
    for path in paths:
        yield from read_shard(path, columns).to_pylist()


def _refused(row: Mapping[str, Any]) -> RefusedInput:
    names = ("modality", "text", "filter", "reason", "score")
    return RefusedInput(name=row["id"], **{name: row[name] for name in names})


def _filled(one: RefusedInput, record: Record | None) -> RefusedInput:
    """With its items, or why they cannot be shown."""
    if record is None:
        return replace(one, problem="it is not at hand any more")
    try:
        if record.failure is not None:
            raise InputError(record.failure.reason)
        return replace(one, items=load(record)[1])
    except InputError as error:
        return replace(one, problem=str(error))
