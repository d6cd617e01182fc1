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
from pipelines.sources.contents import Contents
from pipelines.sources.entry import Entry
from pipelines.sources.record import Record
from pipelines.sources.source import Source
from pipelines.sources.table_rows import TableLayout, kind_by_name
from pipelines.sources.template import Template

_OPTIONS = ("name", "split", "revision", "streaming", "data_files", "data_dir")


class HubSource(Source):
    """Rows of one split of a data set. A stream is counted by reading it to its end."""

    def __init__(self, template: Template | None) -> None:
        self._template = template

    def contents(self, entry: Entry) -> Contents:
        """Return the rows, an unknown number of a stream."""
        data = load_dataset(entry.path)
        return Contents(num_inputs=len(data) if hasattr(data, "__len__") else None)

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the rows from number `start` on."""
        data, layout = _opened(entry)
        data = data.select_columns(layout.needed(self._template))
        rows = data.skip(start) if start else data
        for number, row in enumerate(rows, start=start):
            yield layout.record(
                row,
                fallback_id=f"{entry.name}#{number}",
                source=f"{entry.path}#{number}",
                folder=os.getcwd(),
                template=self._template,
            )

    def ids(self, entry: Entry) -> Iterator[str]:
        """Yield the ids; only their column is read."""
        data, layout = _opened(entry)
        if layout.id is None:
            yield from (f"{entry.name}#{number}" for number in range(len(data)))
            return
        for number, row in enumerate(data.select_columns([layout.id])):
            given = row[layout.id]
            yield f"{entry.name}#{number}" if given is None else str(given)


def _opened(entry: Entry) -> tuple[Any, TableLayout]:
    """A data set whose media stay as they are, and what its columns are."""
    import datasets

    data = load_dataset(entry.path)
    features = data.features or data._resolve_features().features
    media: dict[str, str] = {}
    labels: dict[str, list[str]] = {}
    for name, feature in features.items():
        is_list = isinstance(feature, datasets.List | datasets.LargeList)
        inner = feature.feature if is_list else feature
        if isinstance(inner, datasets.Image | datasets.Audio):
            media[name] = type(inner).__name__.lower()
            raw = type(inner)(decode=False)
            data = data.cast_column(name, type(feature)(raw) if is_list else raw)
        elif isinstance(inner, dict) and inner.keys() >= {"bytes", "path"}:
            if kind := kind_by_name(name):
                media[name] = kind
        elif isinstance(feature, datasets.ClassLabel):
            labels[name] = list(feature.names)
    return data, TableLayout.of(list(features), media, labels)


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
