"""Parquet files with Hugging Face `Image`/`Audio` columns, text, or conversations.

Read row group by row group; a damaged one costs its own rows and no others.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dvse.errors import DecodeError, StorageError
from dvse.remote.address import parent_of
from dvse.remote.patience import is_passing
from dvse.remote.remote_path import location
from dvse.storage.shard import opened
from pipelines.sources.arrow_columns import table_layout
from pipelines.sources.contents import Contents, contents_of
from pipelines.sources.entry import Entry
from pipelines.sources.record import Record, failed, utf8_name
from pipelines.sources.source import Source
from pipelines.sources.table_rows import TableLayout
from pipelines.sources.template import Template

_ROWS_AT_ONCE = 64


class ParquetSource(Source):
    """Rows of a Parquet file."""

    def __init__(self, template: Template | None) -> None:
        self._template = template

    def contents(self, entry: Entry) -> Contents:
        """Return the rows, and refuse a table that holds nothing to tokenise."""
        with pq.ParquetFile(opened(location(entry.path))) as file:
            layout = _layout(file, entry.path, self._template)
            num_rows = file.metadata.num_rows
        if layout.names_files:
            found = contents_of(self.records(entry))
            return replace(found, num_inputs=num_rows, unused=layout.unused(self._template))
        return Contents(num_inputs=num_rows, unused=layout.unused(self._template))

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the rows from number `start` on."""
        folder = parent_of(entry.path)
        with pq.ParquetFile(
            opened(location(entry.path)), pre_buffer=False, buffer_size=1 << 20
        ) as file:
            layout = _layout(file, entry.path, self._template)
            columns = layout.needed(self._template)
            first = 0
            for group in range(file.num_row_groups):
                stop = first + file.metadata.row_group(group).num_rows
                position = max(first, start)
                if position < stop:
                    rows = _rows(file, group, columns, position - first)
                    try:
                        for row in rows:
                            yield layout.record(
                                row,
                                fallback_id=_id(entry, position),
                                source=_source(entry, position),
                                folder=folder,
                                template=self._template,
                            )
                            position += 1
                    except StorageError:
                        raise  # the store does not answer: nothing is damaged
                    except (OSError, pa.ArrowException) as error:
                        if is_passing(error):
                            raise
                        for lost in range(position, stop):
                            problem = DecodeError(f"row group {group} is damaged; {error}")
                            yield failed(_id(entry, lost), _source(entry, lost), problem)
                first = stop

    def ids(self, entry: Entry) -> Iterator[str]:
        """Yield the ids; only their column is read.

        Where a row group is damaged and this column of it is not, an id is that of the row as it
        was, and `records` names the row by its place.
        """
        with pq.ParquetFile(entry.path, pre_buffer=False, buffer_size=1 << 20) as file:
            column = _layout(file, entry.path, self._template).id
            if column is None:
                yield from (_id(entry, row) for row in range(file.metadata.num_rows))
                return
            first = 0
            for group in range(file.num_row_groups):
                position, stop = first, first + file.metadata.row_group(group).num_rows
                try:
                    for row in _rows(file, group, [column], 0):
                        given = row[column]
                        yield _id(entry, position) if given is None else str(given)
                        position += 1
                except (OSError, pa.ArrowException) as error:
                    if is_passing(error):
                        raise
                    yield from (_id(entry, lost) for lost in range(position, stop))
                first = stop


def _rows(
    file: pq.ParquetFile, group: int, columns: list[str], skip: int
) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=columns):
        if skip >= batch.num_rows:
            skip -= batch.num_rows
            continue
        yield from batch.slice(skip).to_pylist()
        skip = 0


def _layout(file: pq.ParquetFile, path: str, template: Template | None) -> TableLayout:
    def sample(column: str) -> Iterator[Any]:
        for group in range(file.num_row_groups):
            try:
                for row in _rows(file, group, [column], 0):
                    yield row[column]
            except StorageError:
                raise
            except (OSError, pa.ArrowException):
                continue  # its rows become errors when they are read

    return table_layout(
        file.schema_arrow, sample, folder=parent_of(path), is_template=template is not None
    )


def _id(entry: Entry, row: int) -> str:
    return f"{utf8_name(entry.name)}/{row}"


def _source(entry: Entry, row: int) -> str:
    return f"{utf8_name(entry.path)}#{row}"
