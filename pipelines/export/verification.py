"""Proving an export: every file has its hash, and every document is the row it came from.

What is compared is read back out of the files by a reader that shares nothing with the writer but
the layout; trainers' own readers do the same in the tests.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dvse.errors import ShardError
from dvse.remote.remote_path import Location
from pipelines.export.documents import PROVENANCE, Documents, read_documents
from pipelines.export.format import ReadSequence
from pipelines.export.formats import find_format
from pipelines.export.in_store import read_here
from pipelines.export.journal import PROVENANCE_FOLDER, read_manifest
from pipelines.export.output_file import FilePart
from pipelines.export.plan import Plan
from pipelines.export.settings import ExportSettings
from pipelines.export.token_shards import TokenShards

_MOST_PROBLEMS = 100


@dataclass(kw_only=True)
class ExportFindings:
    """What was found.

    Attributes:
        problems: a sentence each; empty if all is well.
        num_files: files whose hash was checked.
        num_sequences, num_ids: that were compared.
    """

    problems: list[str] = field(default_factory=list)
    num_files: int = 0
    num_sequences: int = 0
    num_ids: int = 0

    def check_files(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """Hold the bytes of every part of a file against what was written."""
        for part in (FilePart(**part) for part in manifest["files"]):
            self.num_files += 1
            if not part.is_intact(folder):
                self.problems.append(f"{part.name}: missing, or not the bytes that were written")

    def table(self) -> str:
        """Return the lines for a person."""
        return (
            f"{self.num_files:,} parts of files hashed, {self.num_sequences:,} documents and "
            f"{self.num_ids:,} ids compared, {len(self.problems):,} problems"
        )


def verify_export(folder: Location, tokens: Location) -> ExportFindings:
    """Compare an export with the token shards that it was made from, id by id.

    An export in a store is fetched for that.

    Raises:
        ShardError: no finished export, or no token shards.
    """
    with read_here(folder) as here:
        return _verify(here, tokens)


def _verify(folder: Path, tokens: Location) -> ExportFindings:
    manifest = read_manifest(folder)
    kind = find_format(manifest["format"])
    settings = ExportSettings(
        tokens=tokens,
        output=folder,
        **{name: manifest[name] for name in ("splits", "seed", "end_id", "piece_bytes")},
    )
    shards = TokenShards(tokens, settings.splits, settings.seed)
    found = ExportFindings()
    for what in ("bundle_fingerprint", "vocabulary_fingerprint"):
        if manifest[what] != (there := getattr(shards.metadata, what)):
            found.problems.append(f"{what} is {manifest[what]} here and {there} in {tokens}")
    found.check_files(folder, manifest)
    if found.problems:
        return found
    plan = Plan(settings, shards, kind.id_dtype(shards.metadata.vocabulary_size))
    for split in plan.splits:
        try:
            _compare(found, plan, split, kind.read(folder, split))
            _check_provenance(found, plan, folder, split)
        except (ShardError, OSError, ValueError, KeyError) as error:
            found.problems.append(f"{split}: cannot be read back; {error}")
    return found


def _compare(
    found: ExportFindings, plan: Plan, split: str, sequences: Iterator[ReadSequence]
) -> None:
    for number, (expected, read) in enumerate(zip_longest(_rows(plan, split), sequences)):
        if len(found.problems) >= _MOST_PROBLEMS:
            return
        if expected is None or read is None:
            where = "the export" if expected is None else "the token shards"
            found.problems.append(f"{split}: document {number} stands in {where} alone")
            return
        row, ids, mask = expected
        found.num_sequences += 1
        found.num_ids += len(ids)
        reason = _difference(row, ids, mask, read)
        if reason is not None:
            found.problems.append(f"{split}: document {number} ({row['id']}): {reason}")


def _difference(
    row: dict[str, Any], ids: np.ndarray, mask: np.ndarray | None, read: ReadSequence
) -> str | None:
    if len(ids) != len(read.ids):
        return f"{len(read.ids)} ids, {len(ids)} in the token shard"
    if (wrong := np.flatnonzero(ids != read.ids)).size:
        at = int(wrong[0])
        return f"{len(wrong)} ids differ, the first at {at}: {read.ids[at]} for {ids[at]}"
    everything = np.ones(len(ids), dtype=bool)
    if not np.array_equal(
        everything if mask is None else mask, everything if read.mask is None else read.mask
    ):
        return "another loss mask"
    if read.modality not in (None, row["modality"]):
        return f"{read.modality} for {row['modality']}"
    return None


def _check_provenance(found: ExportFindings, plan: Plan, folder: Path, split: str) -> None:
    for piece in plan.of_split(split):
        name = f"{PROVENANCE_FOLDER}/{split}-{piece.number:06d}.parquet"
        noted = pq.read_table(folder / name).to_pylist()
        rows = [
            {"split": split, "sequence": number, "num_ids": len(ids)}
            | {name: row[name] for name in PROVENANCE}
            for some in read_documents(plan, piece)
            for row, ids, _, number in _each(some)
        ]
        if noted != rows:
            found.problems.append(f"{name}: names other inputs than the token shards do")


def _rows(plan: Plan, split: str) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray | None]]:
    for piece in plan.of_split(split):
        for some in read_documents(plan, piece):
            for row, ids, mask, _ in _each(some):
                yield row, ids, mask


def _each(
    some: Documents,
) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray | None, int]]:
    rows = some.rows.to_pylist()
    for (number, ids, mask), row in zip(some.each(), rows, strict=True):
        yield row, ids, mask, number
