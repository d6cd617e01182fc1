"""Filters finished token shards into another directory.

    OUT/shard-000000.parquet …      the rows that stay, as they were
    OUT/filtered-000000.parquet …   the others, with `filter`, `reason` and `score`
    OUT/001/shard-001000.parquet …  behind the first thousand in a folder a thousand
    OUT/filter.json                 counts; written last

Every file is there whole or not at all. An interrupted run is begun again: judging needs the rows
in their order, and the bytes come out the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dvse.errors import ConfigError, ShardError
from dvse.remote.remote_path import Location
from dvse.storage.atomic_file import remove_temporary_files, write_atomically
from dvse.storage.shard import (
    NUMBERED_FOLDERS,
    PATTERN,
    beside_shard,
    find_shards,
    read_metadata,
    read_shard,
    shard_number,
    write_shard,
)
from pipelines.filtering.filter_set import FilterSet
from pipelines.filtering.row_judge import RowJudge

SUMMARY = "filter.json"
REFUSED_PATTERN = "filtered-*.parquet"

_MARK = ".filter"


@dataclass(frozen=True, kw_only=True)
class FilterSummary:
    """What came of filtering.

    Attributes:
        num_rows, num_kept: rows before and after.
        refused: filter → rows that it refused; a row counts with the first that refuses it.
    """

    num_rows: int
    num_kept: int
    refused: Mapping[str, int]

    def table(self) -> str:
        """Return the lines for a person."""
        lines = [f"{name:24}{count:14,} refused" for name, count in self.refused.items()]
        return "\n".join([*lines, f"{'':24}{self.num_kept:14,} of {self.num_rows:,} rows stay"])


def filter_shards(
    tokens: Location, output: Path, filters: FilterSet, judge: RowJudge
) -> FilterSummary:
    """Judge every row of a directory of token shards and write what stays and what does not.

    Args:
        tokens, output: directories.
        filters: of a file.
        judge: they, at work.

    Raises:
        ShardError: no shards, or a corrupt one.
        ConfigError: `output` holds something else, or a filter needs more than tokens.
    """
    if needs := filters.needs_media:
        raise ConfigError(
            f"[{needs[0]}] looks at the media, which finished shards do not hold; give it to dvse "
            "tokenize --filter"
        )
    paths = find_shards(tokens)
    if not paths:
        raise ShardError(f"{tokens}: expected {PATTERN} written by dvse tokenize, found none")
    _prepare(output)
    refused = dict.fromkeys(filters.names, 0)
    num_rows = num_kept = 0
    for path in paths:
        table = read_shard(path)
        rows = table.to_pylist()
        judged = [judge.judge(row) for row in rows]
        kept = [row for row, found in zip(rows, judged, strict=True) if found is None]
        out = [
            row | found.columns()
            for row, found in zip(rows, judged, strict=True)
            if found is not None
        ]
        _write(path, output, table.schema.remove_metadata(), kept, out)
        num_rows, num_kept = num_rows + len(rows), num_kept + len(kept)
        for row in out:
            refused[row["filter"]] += 1
    summary = FilterSummary(num_rows=num_rows, num_kept=num_kept, refused=refused)
    about = {"num_rows": num_rows, "num_kept": num_kept, "refused": refused}
    write_atomically(output / SUMMARY, (json.dumps(about, indent=1) + "\n").encode())
    return summary


def refused_shards(folder: Location) -> list[Location]:
    """Return the shards of refused rows that a filter wrote into a folder, in order."""
    found: list[Location] = []
    inner: list[Location] = list(folder.glob(NUMBERED_FOLDERS))
    for one in (folder, *sorted(inner, key=str)):
        refused: list[Location] = list(one.glob(REFUSED_PATTERN))
        found += sorted(refused, key=str)
    return found


def _prepare(output: Path) -> None:
    if output.is_file() or (
        output.is_dir() and any(output.iterdir()) and not (output / _MARK).exists()
    ):
        raise ConfigError(
            f"{output}: there are files that no filter has written; choose an empty or new "
            "directory"
        )
    output.mkdir(parents=True, exist_ok=True)
    (output / _MARK).touch()
    (output / SUMMARY).unlink(missing_ok=True)
    for folder in (output, *output.glob(NUMBERED_FOLDERS)):
        remove_temporary_files(folder)
        for pattern in (PATTERN, REFUSED_PATTERN):
            for path in folder.glob(pattern):
                path.unlink()


def _write(
    path: Location,
    output: Path,
    schema: pa.Schema,
    kept: Sequence[dict[str, Any]],
    out: Sequence[dict[str, Any]],
) -> None:
    metadata = read_metadata(path).to_schema_metadata()
    place = output / beside_shard(shard_number(path.name), path.name)
    place.parent.mkdir(exist_ok=True)
    write_shard(place, kept, schema=schema, metadata=metadata)
    wider = pa.schema(
        [
            *schema,
            pa.field("filter", pa.string(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("score", pa.float64(), nullable=False),
        ]
    )
    name = path.name.replace("shard-", "filtered-")
    write_shard(place.with_name(name), out, schema=wider, metadata=metadata)
