"""Pieces made by several processes, each with its provenance."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from pipelines.engines.spread import spread
from pipelines.export.documents import read_documents
from pipelines.export.format import ExportFormat, PieceRecord
from pipelines.export.plan import Piece, Plan
from pipelines.export.provenance import Provenance
from pipelines.export.read_ahead import read_ahead


def write_piece(folder: Path, kind: ExportFormat, plan: Plan, piece: Piece) -> PieceRecord:
    """Write the files of a piece and its provenance; return what is known of it."""
    provenance = Provenance(piece)
    documents = provenance.watching(read_ahead(read_documents(plan, piece, kind.columns)))
    parts = kind.write(folder, plan, piece, documents)
    return PieceRecord(
        split=piece.split,
        number=piece.number,
        num_sequences=piece.num_sequences,
        num_ids=piece.num_ids,
        parts=(*parts, provenance.write(folder)),
    )


def write_pieces(
    folder: Path, kind: ExportFormat, plan: Plan, pieces: Sequence[Piece], num_workers: int
) -> Iterator[tuple[Piece, PieceRecord]]:
    """Yield each piece with its record as soon as its files are durable, in any order.

    Raises:
        WorkerDiedError: a process was killed.
        OSError: the disk is full.
    """
    write = partial(write_piece, folder, kind, plan)
    yield from spread(
        write, pieces, num_workers, name=lambda piece: f"piece {piece.number} of {piece.split}"
    )
