"""Pieces made by several processes: each has a pipe of its own and is told a piece at a time."""

from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dvse.errors import DvseError, WorkerDiedError
from pipelines.engines.child import Child
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
    num_workers = min(num_workers, len(pieces))
    if num_workers <= 1:
        for piece in pieces:
            yield piece, write_piece(folder, kind, plan, piece)
        return
    waiting = iter(pieces)
    children = [Child(_work, (folder, kind, plan)) for _ in range(num_workers)]
    at_work: dict[Connection, Piece] = {}
    try:
        for child in children:
            _hand_out(child.connection, waiting, at_work)
        while at_work:
            for connection in wait(list(at_work)):
                assert isinstance(connection, Connection)
                piece = at_work.pop(connection)
                answer = _receive(connection, piece)
                _hand_out(connection, waiting, at_work)
                yield piece, answer
    finally:
        for child in children:
            child.kill()


def _hand_out(
    connection: Connection, waiting: Iterator[Piece], at_work: dict[Connection, Piece]
) -> None:
    piece = next(waiting, None)
    if piece is not None:
        connection.send(piece)
        at_work[connection] = piece


def _receive(connection: Connection, piece: Piece) -> PieceRecord:
    try:
        answer: Any = connection.recv()
    except (EOFError, ConnectionResetError):
        raise WorkerDiedError(
            f"the process that wrote piece {piece.number} of {piece.split} was killed; run the "
            "same command again: what is finished stays (fewer --workers need less memory)"
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _work(connection: Connection, folder: Path, kind: ExportFormat, plan: Plan) -> None:
    while True:
        piece = connection.recv()
        try:
            connection.send(write_piece(folder, kind, plan, piece))
        except (DvseError, OSError) as error:
            connection.send(error)
