"""CSV with a `path` column, and TSV: with such a header, or fairseq's (root first, then lines).

    path,text                       /data/clips
    a.wav,hello                     a.wav⇥16000

Paths count from the folder of the manifest, in fairseq's from the root in its first line.
"""

# ruff: noqa: PTH100, PTH112, PTH117, PTH118
# Paths stay strings: they come by the million, and os.path is several times faster.

import csv
import io
import os
from collections.abc import Iterator

from dvse.errors import DecodeError, InputError
from dvse.remote.address import is_address, join, parent_of
from dvse.remote.remote_path import location
from pipelines.sources.contents import Contents, contents_of
from pipelines.sources.entry import Entry
from pipelines.sources.manifest_row import names_media, path_fields, row_record
from pipelines.sources.record import Record, failed, utf8_name
from pipelines.sources.source import Source

_DELIMITERS = (",", "\t", ";", "|")


class DelimitedSource(Source):
    """Rows of a CSV or TSV manifest."""

    def contents(self, entry: Entry) -> Contents:
        """Return the rows."""
        return contents_of(self.records(entry))

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the rows from number `start` on."""
        folder = parent_of(entry.path)
        for number, (line, row) in enumerate(self._rows(entry)):
            if number >= start:
                yield _record(entry, line, row, folder)

    def _rows(self, entry: Entry) -> Iterator[tuple[int, dict[str, str | None]]]:
        """Yield (line number, column → value)."""
        tabs = entry.kind == "tsv"
        # Names may hold any bytes; undecodable ones survive as surrogates.
        with io.TextIOWrapper(
            location(entry.path).open("rb"),
            encoding="utf-8-sig",
            errors="surrogateescape",
            newline="",
        ) as file:
            if tabs:
                header = file.readline().rstrip("\r\n").split("\t")
                if not names_media(header):
                    yield from _fairseq(file, _root(header[0], parent_of(entry.path)))
                    return
                file.seek(0)
            csv.field_size_limit(1 << 24)
            delimiter = "\t" if tabs else _delimiter(file.readline())
            file.seek(0)
            reader = csv.DictReader(
                file, delimiter=delimiter, quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
            )
            if not names_media(reader.fieldnames or []):
                raise InputError(
                    f"{utf8_name(entry.name)}: expected a 'path' column, received the columns "
                    f"{reader.fieldnames}"
                )
            while True:
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield reader.line_num, {None: str(error)}  # type: ignore[dict-item]
                    continue
                yield reader.line_num, row


def _delimiter(header: str) -> str:
    """What splits a header so that a column names files."""
    for delimiter in _DELIMITERS:
        if names_media(next(csv.reader([header], delimiter=delimiter), [])):
            return delimiter
    return ","


def _root(root: str, folder: str) -> str:
    """Where the root of fairseq lies: beside the manifest, or else counted from here."""
    if is_address(folder) or is_address(root):
        return join(folder, root)
    if os.path.isabs(root) or os.path.isdir(os.path.join(folder, root)) or not os.path.isdir(root):
        return root
    return os.path.abspath(root)


def _fairseq(file: Iterator[str], root: str) -> Iterator[tuple[int, dict[str, str | None]]]:
    for at, line in enumerate(file, start=2):
        line = line.rstrip("\r\n")
        if line:
            path = line.split("\t")[0]
            yield at, {"path": join(root, path), "id": path}


def _record(entry: Entry, line: int, row: dict[str, str | None], folder: str) -> Record:
    fallback, source = f"{utf8_name(entry.name)}:{line}", f"{utf8_name(entry.path)}:{line}"
    record = row_record(
        {key: _storable(key, value) for key, value in row.items()},
        folder=folder,
        fallback_id=fallback,
        source=source,
        paths=path_fields(entry.path),
    )
    if record is None:
        broken = row.get(None)  # type: ignore[call-overload]  # what csv says of the line
        return failed(fallback, source, DecodeError(str(broken or "the row has no path")))
    return record


def _storable(column: str, value: str | None) -> str | None:
    """A value that a shard can hold; names of files keep bytes that are no UTF-8."""
    if not isinstance(value, str) or value.isascii() or names_media([column]):
        return value
    return utf8_name(value)
