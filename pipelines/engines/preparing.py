"""Records → pieces: what a decode worker does, whichever process it runs in."""

from collections.abc import Hashable, Iterator

from dvse.remote.patience import PATIENCE
from pipelines.engines.window import Piece
from pipelines.filtering.gate import Examined, GatedPreparer
from pipelines.sources.loading import load, stage_of
from pipelines.sources.record import Failure, Record
from pipelines.steps.step import ChunkMaker

_PIECE_BYTES = 4 << 20


def pieces(preparer: ChunkMaker, record: Record, key: Hashable) -> Iterator[Piece | Failure]:
    """Yield the pieces of one record in order, or end with the failure that it came to.

    What a gate refuses is one piece without chunks. Pieces without chunks are also signs of life.

    Nothing escapes: whatever a decoder raises becomes a failure of this one input.
    """
    is_loaded = False
    try:
        loaded, items = PATIENCE.call(lambda: load(record))
        is_loaded = True
        if isinstance(preparer, GatedPreparer):
            for examined in preparer.gate.examine(loaded, items):
                if examined is None:
                    yield Piece(key, [], None)
                    continue
                loaded = examined
        if isinstance(loaded, Examined) and loaded.refusal is not None:
            yield Piece(key, [], loaded)
            return
        held, size = [], 0
        for chunk in preparer.chunks(items):
            held.append(chunk)
            size += chunk_bytes(chunk)
            if size >= _PIECE_BYTES:
                yield Piece(key, held, None)
                held, size = [], 0
        yield Piece(key, held, loaded)
    except Exception as error:
        yield Failure.of(stage_of(error, loaded=is_loaded), error)


def chunk_bytes(chunk: object) -> int:
    """Return the size of a chunk's data in bytes, roughly."""
    data = getattr(chunk, "data", b"")
    return int(getattr(data, "nbytes", 0)) or len(data)
