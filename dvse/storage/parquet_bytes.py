"""A table as the bytes of a Parquet file: the same table is the same bytes."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq


def parquet_bytes(
    table: pa.Table, *, dictionaries: Sequence[str], row_group_size: int
) -> memoryview:
    """Return the file; everything that could change its bytes is said here, defaults included.

    Args:
        table: what is written.
        dictionaries: columns of few values.
        row_group_size: rows a group at most.

    >>> table = pa.table({"n": [1, 2]})
    >>> data = parquet_bytes(table, dictionaries=[], row_group_size=10)
    >>> pq.read_table(pa.BufferReader(data)).equals(table)
    True
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=[*dictionaries],
        write_statistics=False,
        row_group_size=row_group_size,
        data_page_size=1 << 20,
        write_batch_size=1024,
        store_schema=True,
    )
    return memoryview(sink.getvalue())
