"""Provenance: which input is which sequence of an export."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from dvse.storage.parquet_bytes import parquet_bytes
from pipelines.export.documents import PROVENANCE, Documents
from pipelines.export.journal import PROVENANCE_FOLDER
from pipelines.export.output_file import FilePart, write_whole
from pipelines.export.plan import Piece

_ROWS_PER_GROUP = 1 << 20
SCHEMA = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("num_ids", pa.int64(), nullable=False),
        *(pa.field(name, pa.string()) for name in PROVENANCE),
    ]
)


class Provenance:
    """Remembers the documents that pass on their way into a format."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece
        self._batches: list[pa.RecordBatch] = []

    def watching(self, documents: Iterator[Documents]) -> Iterator[Documents]:
        """Yield the documents and note them down."""
        for some in documents:
            count = len(some.lengths)
            self._batches.append(
                pa.record_batch(
                    [
                        pa.array([self._piece.split] * count),
                        pa.array(some.first + np.arange(count)),
                        pa.array(some.lengths),
                        *(some.rows.column(name).cast(pa.string()) for name in PROVENANCE),
                    ],
                    schema=SCHEMA,
                )
            )
            yield some

    def write(self, folder: Path) -> FilePart:
        """Write the piece's file."""
        table = pa.Table.from_batches(self._batches, schema=SCHEMA)
        data = parquet_bytes(
            table, dictionaries=["split", "modality"], row_group_size=_ROWS_PER_GROUP
        )
        name = f"{PROVENANCE_FOLDER}/{self._piece.split}-{self._piece.number:06d}.parquet"
        return write_whole(folder, name, data)
