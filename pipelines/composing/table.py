"""A table beside token shards: lines of an input by its name, such as questions and answers."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dvse.errors import ConfigError

_KEY = "id"


class Table:
    """Lines by the input they belong to.

    Args:
        path: `.csv` or `.tsv` with a head, `.jsonl`, or `.parquet`; the column `id` names the
            input as its row is named.

    Attributes:
        columns: the other columns.

    Raises:
        ConfigError: no such file, no column `id`, or a line of another form.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        rows = _read(path)
        names = list(dict.fromkeys(name for row in rows for name in row))
        if _KEY not in names:
            raise ConfigError(f"{path}: expected a column {_KEY!r} that names inputs, has {names}")
        self.columns = tuple(name for name in names if name != _KEY)
        self._lines: dict[str, list[dict[str, str]]] = {}
        for number, row in enumerate(rows, start=1):
            line = {name: row.get(name) for name in self.columns}
            if row.get(_KEY) is None or any(not isinstance(v, str) for v in line.values()):
                raise ConfigError(
                    f"{path}, row {number}: expected text in every column of {names}, received "
                    f"{ {k: row.get(k) for k in names} }"
                )
            self._lines.setdefault(str(row[_KEY]), []).append(line)  # type: ignore[arg-type]

    def lines(self, id: str) -> list[dict[str, str]]:
        """Return the lines of an input, in order."""
        return self._lines.get(id, [])


def _read(path: Path) -> list[Mapping[str, Any]]:
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            return pq.read_table(path).to_pylist()
        text = path.read_text(encoding="utf-8-sig")
        if kind == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if kind in (".csv", ".tsv"):
            delimiter = "\t" if kind == ".tsv" else ","
            return list(csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter))
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        raise ConfigError(f"{path}: expected a table; {error}") from None
    raise ConfigError(f"{path}: expected a table .csv, .tsv, .jsonl or .parquet")
