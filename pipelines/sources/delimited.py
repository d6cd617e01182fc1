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
from collections.abc import Iterator, Sequence

from dvse.errors import DecodeError, InputError
from dvse.remote.address import is_address, join, parent_of
from dvse.remote.remote_path import location
from pipelines.sources.contents import Contents, contents_of
from pipelines.sources.entry import Entry
from pipelines.sources.manifest_row import path_fields, row_record
from pipelines.sources.named_media import names_media
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
            _check_header(reader.fieldnames or [], utf8_name(entry.name))
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


def _check_header(columns: Sequence[str], name: str) -> None:
    """Refuse a table that names no files, or one column twice.

    Raises:
        InputError: which columns there are.
    """
    if not names_media(columns):
        raise InputError(
            f"{name}: expected a 'path' column, received the columns {[*map(utf8_name, columns)]}"
        )
    lower = [column.strip().lower() for column in columns]
    twice = sorted({column for column in lower if column and lower.count(column) > 1})
    if twice:
        raise InputError(f"{name}: expected each column once, received {twice} several times")


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
    broken = row.pop(None, None)  # type: ignore[call-overload]  # the key of what does not fit
    if isinstance(broken, list):
        broken = (
            f"the row has {len(row) + len(broken)} fields, the header {len(row)}; put quotes "
            "around a text that holds what splits the fields"
        )
    if broken:
        return failed(fallback, source, DecodeError(broken))
    record = row_record(
        row, folder=folder, fallback_id=fallback, source=source, paths=path_fields(entry.path)
    )
    if record is None:
        return failed(fallback, source, DecodeError("the row has no path"))
    return record
