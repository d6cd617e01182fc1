"""An export from beginning to end: plan, compare with what was begun, write what is missing."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dvse.errors import IdRangeError
from pipelines.export.format import ExportFormat, PieceRecord
from pipelines.export.in_store import made_here
from pipelines.export.journal import MANIFEST, ExportJournal
from pipelines.export.plan import Plan
from pipelines.export.settings import ExportSettings
from pipelines.export.token_shards import TokenShards
from pipelines.export.workers import write_pieces

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What came of an export.

    Attributes:
        num_sequences, num_ids: split → documents and ids in it.
        num_empty: rows without an id, which were left out.
        num_pieces, num_new: pieces, and those that this run wrote.
        afterwards: the command that is left to the user, if any.
    """

    num_sequences: dict[str, int]
    num_ids: dict[str, int]
    num_empty: int
    num_pieces: int
    num_new: int
    afterwards: str | None

    def table(self) -> str:
        """Return the lines for a person."""
        lines = [f"{'':12}{'documents':>14}{'ids':>18}"]
        for split, count in self.num_sequences.items():
            lines.append(f"{split:12}{count:14,}{self.num_ids[split]:18,}")
        if self.num_empty:
            lines.append(f"{self.num_empty:,} rows without an id were left out")
        lines.append(
            f"{self.num_new:,} of {self.num_pieces:,} pieces written"
            if self.num_new
            else "nothing was left to do"
        )
        if self.afterwards:
            lines.append(f"now run: {self.afterwards}")
        return "\n".join(lines)


def export(
    kind: ExportFormat,
    settings: ExportSettings,
    *,
    num_workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ExportSummary:
    """Write token shards in a format; do what is missing and return the summary.

    Args:
        kind: the format.
        settings: what, where to and how split.
        num_workers: processes; they never change a byte.
        overwrite: delete what an earlier export left in the directory.
        progress: told the pieces that are done, and all.

    Raises:
        ShardError: no shards, or a corrupt one.
        ConfigError: a foreign directory, or tokens that the format cannot hold.
        ResumeError: another export was begun there.
        StorageError: the disk is full; what is finished stays.
        WorkerDiedError: a process was killed.
    """
    with made_here(settings, overwrite=overwrite) as here:
        summary = _export_here(kind, here, num_workers, overwrite, progress)
    return replace(summary, afterwards=None) if here is not settings else summary


def _export_here(
    kind: ExportFormat,
    settings: ExportSettings,
    num_workers: int,
    overwrite: bool,
    progress: Callable[[int, int], None] | None,
) -> ExportSummary:
    assert isinstance(settings.output, Path)
    shards = TokenShards(settings.tokens, settings.splits, settings.seed)
    size = shards.metadata.vocabulary_size
    if settings.end_id is not None and not 0 <= settings.end_id < size:
        raise IdRangeError(f"--end-id: expected an id in 0..{size - 1}, received {settings.end_id}")
    plan = Plan(settings, shards, kind.id_dtype(size))
    journal = ExportJournal(settings.output)
    with journal.locked():
        return _export(kind, plan, journal, num_workers, overwrite, progress)


def _export(
    kind: ExportFormat,
    plan: Plan,
    journal: ExportJournal,
    num_workers: int,
    overwrite: bool,
    progress: Callable[[int, int], None] | None,
) -> ExportSummary:
    folder = journal.output
    if overwrite:
        journal.erase()
    journal.begin(
        {
            "format": kind.name,
            "version": FORMAT_VERSION,
            **plan.settings.identity(),
            "vocabulary": plan.shards.metadata.vocabulary_fingerprint,
            "shards": plan.shards.stamps(),
        }
    )
    journal.clean()
    records = journal.records()  # before `prepare` makes files that are not there
    kind.prepare(folder, plan)
    missing = [piece for piece in plan.pieces if piece.index not in records]
    if missing:
        journal.reopen()
    for piece, record in write_pieces(folder, kind, plan, missing, num_workers):
        journal.commit(piece.index, record)
        records[piece.index] = record
        if progress is not None:
            progress(len(records), len(plan.pieces))
    if not (folder / MANIFEST).exists():
        _finish(kind, plan, journal, [records[piece.index] for piece in plan.pieces])
    return _summary(kind, plan, folder, len(missing))


def _finish(
    kind: ExportFormat, plan: Plan, journal: ExportJournal, records: list[PieceRecord]
) -> None:
    indices = kind.finish(journal.output, plan, records)
    parts = [part for record in records for part in record.parts] + indices
    metadata = plan.shards.metadata
    journal.write_manifest(
        {
            "format": kind.name,
            "version": FORMAT_VERSION,
            "bundle": metadata.bundle,
            "bundle_fingerprint": metadata.bundle_fingerprint,
            "vocabulary_fingerprint": metadata.vocabulary_fingerprint,
            "vocabulary_size": metadata.vocabulary_size,
            "id_dtype": plan.id_dtype.name,
            **plan.settings.identity(),
            "num_sequences": _count(plan, "num_sequences"),
            "num_ids": _count(plan, "num_ids"),
            "num_empty": plan.num_empty,
            "files": [asdict(part) for part in parts],
        }
    )


def _count(plan: Plan, what: str) -> dict[str, int]:
    return {name: sum(getattr(p, what) for p in plan.of_split(name)) for name in plan.splits}


def _summary(kind: ExportFormat, plan: Plan, folder: Path, num_new: int) -> ExportSummary:
    return ExportSummary(
        num_sequences=_count(plan, "num_sequences"),
        num_ids=_count(plan, "num_ids"),
        num_empty=plan.num_empty,
        num_pieces=len(plan.pieces),
        num_new=num_new,
        afterwards=kind.afterwards(folder, plan),
    )
