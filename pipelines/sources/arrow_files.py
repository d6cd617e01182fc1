"""Arrow files, as `save_to_disk` and `to_feather` write them: streams and files, row by row."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from typing import Any

import pyarrow as pa

from dvse.remote.address import parent_of
from dvse.remote.remote_path import RemotePath, location
from pipelines.sources.arrow_columns import table_layout
from pipelines.sources.contents import Contents, contents_of
from pipelines.sources.entry import Entry
from pipelines.sources.record import Record, utf8_name
from pipelines.sources.source import Source
from pipelines.sources.table_rows import TableLayout
from pipelines.sources.template import Template

_FILE_MAGIC = b"ARROW1"


class ArrowSource(Source):
    """Rows of an Arrow stream or file (Feather)."""

    def __init__(self, template: Template | None) -> None:
        self._template = template

    def contents(self, entry: Entry) -> Contents:
        """Return the rows, and refuse a table that holds nothing to tokenise."""
        layout = self._layout(entry.path)
        unused = layout.unused(self._template)
        if layout.names_files:
            return replace(contents_of(self.records(entry)), unused=unused)
        with _batches(entry.path) as (_, batches):
            num_rows = sum(batch.num_rows for batch in batches)
        return Contents(num_inputs=num_rows, unused=unused)

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the rows from number `start` on."""
        layout = self._layout(entry.path)
        columns = layout.needed(self._template)
        row_number = 0
        with _batches(entry.path) as (_, batches):
            for batch in batches:
                skip = min(batch.num_rows, max(0, start - row_number))
                row_number += skip
                for row in _rows(batch.select(columns).slice(skip)):
                    yield layout.record(
                        row,
                        fallback_id=f"{utf8_name(entry.name)}/{row_number}",
                        source=f"{utf8_name(entry.path)}#{row_number}",
                        folder=parent_of(entry.path),
                        template=self._template,
                    )
                    row_number += 1

    def ids(self, entry: Entry) -> Iterator[str]:
        """Yield the ids; only their column is read."""
        column, number = self._layout(entry.path).id, 0
        with _batches(entry.path) as (_, batches):
            for batch in batches:
                given = repeat(None, batch.num_rows)
                for id in given if column is None else batch.column(column).to_pylist():
                    yield f"{utf8_name(entry.name)}/{number}" if id is None else str(id)
                    number += 1

    def _layout(self, path: str) -> TableLayout:
        def sample(column: str) -> Iterator[Any]:
            with _batches(path) as (_, batches):
                for batch in batches:
                    for row in _rows(batch.select([column])):
                        yield row[column]

        with _batches(path) as (schema, _):
            is_template = self._template is not None
            return table_layout(schema, sample, folder=parent_of(path), is_template=is_template)


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    for start in range(0, batch.num_rows, 64):
        yield from batch.slice(start, 64).to_pylist()


@contextmanager
def _batches(path: str) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    place = location(path)
    source = place.open() if isinstance(place, RemotePath) else pa.memory_map(path)
    with source as file:
        is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        file.seek(0)
        if is_file:
            reader = pa.ipc.open_file(file)
            yield reader.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            stream = pa.ipc.open_stream(file)
            yield stream.schema, iter(stream)
