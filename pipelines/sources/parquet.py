"""Parquet files with Hugging Face `Image`/`Audio` columns, text, or conversations.

Read row group by row group; a damaged one costs its own rows and no others.
"""

# ruff: noqa: PTH120
# Paths stay strings: they come by the million, and os.path is several times faster.

import json
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dvse.errors import DecodeError
from pipelines.sources.entry import Entry
from pipelines.sources.record import Record, failed, utf8_name
from pipelines.sources.source import Source
from pipelines.sources.table_rows import TableLayout, kind_by_name
from pipelines.sources.template import Template

_ROWS_AT_ONCE = 64


class ParquetSource(Source):
    """Rows of a Parquet file."""

    def __init__(self, template: Template | None) -> None:
        self._template = template

    def count(self, entry: Entry) -> int:
        """Return the number of rows, and refuse a table that holds nothing to tokenise."""
        with pq.ParquetFile(entry.path) as file:
            _layout(file)
            return file.metadata.num_rows

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the rows from number `start` on."""
        folder = os.path.dirname(entry.path)
        with pq.ParquetFile(entry.path, pre_buffer=False, buffer_size=1 << 20) as file:
            layout = _layout(file)
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
                    except (OSError, pa.ArrowException) as error:
                        for lost in range(position, stop):
                            problem = DecodeError(f"row group {group} is damaged; {error}")
                            yield failed(_id(entry, lost), _source(entry, lost), problem)
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


def _layout(file: pq.ParquetFile) -> TableLayout:
    schema = file.schema_arrow
    features = _features(schema)
    media: dict[str, str] = {}
    labels: dict[str, list[str]] = {}
    for column in schema:
        feature_type = _feature_type(features.get(column.name))
        if feature_type in ("Image", "Audio"):
            media[column.name] = feature_type.lower()
        elif feature_type == "ClassLabel":
            labels[column.name] = features[column.name].get("names") or []
        elif kind := _kind(column):
            media[column.name] = kind
    return TableLayout.of(schema.names, media, labels)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """The Hugging Face features in the file's metadata, where there are any."""
    try:
        document = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return document["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}


def _feature_type(feature: Any) -> str | None:
    """`Image` of a feature, and of a list of them in each of the forms that `datasets` has had."""
    if isinstance(feature, list) and len(feature) == 1:
        return _feature_type(feature[0])
    if not isinstance(feature, dict):
        return None
    return _feature_type(feature["feature"]) if "feature" in feature else feature.get("_type")


def _kind(column: pa.Field) -> str | None:
    value = column.type.value_type if pa.types.is_list(column.type) else column.type
    is_bytes = pa.types.is_binary(value) or pa.types.is_large_binary(value)
    is_struct = pa.types.is_struct(value) and {"bytes", "path"} <= {
        value.field(i).name for i in range(value.num_fields)
    }
    return kind_by_name(column.name) if is_bytes or is_struct else None


def _id(entry: Entry, row: int) -> str:
    return f"{utf8_name(entry.name)}/{row}"


def _source(entry: Entry, row: int) -> str:
    return f"{utf8_name(entry.path)}#{row}"
