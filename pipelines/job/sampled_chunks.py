"""The pictures and windows of a few inputs, decoded here."""

from collections import Counter
from collections.abc import Sequence

from dvse.chunk import Chunk
from pipelines.engines.preparing import pieces
from pipelines.engines.window import Piece
from pipelines.sources.record import Record
from pipelines.steps.step import ChunkMaker

_MOST_CHUNKS = 256


def sampled_chunks(records: Sequence[Record], preparer: ChunkMaker) -> list[Chunk]:
    """Return chunks of pictures and recordings, at most 256 of each; what cannot be read is left.

    Args:
        records: inputs.
        preparer: makes chunks of them.
    """
    chunks: list[Chunk] = []
    counts: Counter[str] = Counter()
    for key, record in enumerate(records):
        if record.failure is not None:
            continue
        for piece in pieces(preparer, record, key):
            if not isinstance(piece, Piece):
                break
            for chunk in piece.chunks:
                counts[chunk.modality] += 1
                if chunk.is_media and counts[chunk.modality] <= _MOST_CHUNKS:
                    chunks.append(chunk)
            if all(counts[c.modality] > _MOST_CHUNKS for c in piece.chunks):
                break  # the rest of a long recording
    return chunks
