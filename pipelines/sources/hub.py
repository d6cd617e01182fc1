"""Anything that `datasets.load_dataset` reads, streaming included.

    hf:NAME?name=CONFIG&split=train&revision=…&streaming=true&data_files=…&data_dir=…

NAME is a data set of the Hub, a directory, or a packaged reader (`hf:csv?data_files=x.csv`). Media
columns are never decoded by `datasets`: their bytes go to the decode workers as they are.
"""

# ruff: noqa: PTH109
# Paths stay strings: they come by the million, and os.path is several times faster.

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

from dvse.errors import ConfigError
from pipelines.sources.arrow_columns import table_layout
from pipelines.sources.contents import Contents
from pipelines.sources.entry import Entry
from pipelines.sources.record import Record
from pipelines.sources.source import Source
from pipelines.sources.table_rows import TableLayout
from pipelines.sources.template import Template

_ROWS_AT_ONCE = 64
_LONGEST_LOOK = 1_000
"""Rows of a stream that are looked at to say what a column holds."""
_OPTIONS = ("name", "split", "revision", "streaming", "data_files", "data_dir")


class HubSource(Source):
    """Rows of one split of a data set. A stream is counted by reading it to its end."""

    def __init__(self, template: Template | None) -> None:
        self._template = template

    def contents(self, entry: Entry) -> Contents:
        """Return the rows, an unknown number of a stream."""
        data, layout = self._opened(entry)
        num_inputs = len(data) if hasattr(data, "__len__") else None
        return Contents(num_inputs=num_inputs, unused=layout.unused(self._template))

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the rows from number `start` on."""
        data, layout = self._opened(entry)
        data = data.select_columns(layout.needed(self._template))
        for number, row in enumerate(_rows(data.skip(start) if start else data), start=start):
            yield layout.record(
                row,
                fallback_id=f"{entry.name}#{number}",
                source=f"{entry.path}#{number}",
                folder=os.getcwd(),
                template=self._template,
            )

    def ids(self, entry: Entry) -> Iterator[str]:
        """Yield the ids; only their column is read."""
        data, layout = self._opened(entry)
        if layout.id is None:
            yield from (f"{entry.name}#{number}" for number in range(len(data)))
            return
        for number, row in enumerate(_rows(data.select_columns([layout.id]))):
            given = row[layout.id]
            yield f"{entry.name}#{number}" if given is None else str(given)

    def _opened(self, entry: Entry) -> tuple[Any, TableLayout]:
        """A data set as Arrow, so that nothing is decoded, and what its columns are."""
        data = load_dataset(entry.path)
        is_stream = not hasattr(data, "__len__")
        features = data.features or data._resolve_features().features
        data = data.with_format("arrow")

        def sample(column: str) -> Iterator[Any]:
            some = data.take(_LONGEST_LOOK) if is_stream else data
            return (row[column] for row in _rows(some.select_columns([column])))

        is_template = self._template is not None
        layout = table_layout(
            features.arrow_schema, sample, folder=os.getcwd(), is_template=is_template
        )
        return data, layout


def _rows(data: Any) -> Iterator[dict[str, Any]]:
    for table in data.iter(_ROWS_AT_ONCE):
        yield from table.to_pylist()


def load_dataset(address: str) -> Any:
    """Return the split that an `hf:` address names, as `datasets` gives it.

    Raises:
        ConfigError: no such option, or no such split.
    """
    import datasets

    path, _, query = address.partition(":")[2].partition("?")
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown or not path:
        raise ConfigError(
            f"{address}: expected hf:NAME?{'&'.join(f'{o}=…' for o in _OPTIONS)}, received "
            f"the unknown options {unknown}"
        )
    options["streaming"] = options.get("streaming", "").lower() in ("1", "true", "yes")
    options.setdefault("split", "train")
    try:
        return datasets.load_dataset(unquote(path), **options)
    except ValueError as error:
        known = re.search(r"Unknown split .*Should be one of (\[.*?\])", str(error))
        known = known or re.search(r"Bad split: .*Available splits: (\[.*?\])", str(error))
        if known is None:
            raise
        raise ConfigError(
            f"{address}: expected split= to name one of {known[1]}, received {options['split']!r}"
        ) from None
