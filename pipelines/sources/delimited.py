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
from pipelines.sources.entry import Entry
from pipelines.sources.kinds import media_record
from pipelines.sources.record import Record, failed, utf8_name
from pipelines.sources.source import Source
from pipelines.sources.stretches import Stretch, stretch_of

_PATH_COLUMNS = (
    "path", "file", "file_name", "filename", "audio_filepath", "image", "audio", "file_path",
    "filepath", "image_path", "audio_path", "img_path", "wav_path", "image_file", "audio_file",
    "wav", "img", "clip",
)  # fmt: skip
_DELIMITERS = (",", "\t", ";", "|")
_TEXT_COLUMNS = ("text", "caption", "transcription", "transcript", "sentence", "label", "class")
_ID_COLUMNS = ("id", "utt_id", "key")


class DelimitedSource(Source):
    """Rows of a CSV or TSV manifest."""

    def count(self, entry: Entry) -> int:
        """Return the number of rows."""
        return sum(1 for _ in self._rows(entry))

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
                if not _has_path(header):
                    yield from _fairseq(file, _root(header[0], parent_of(entry.path)))
                    return
                file.seek(0)
            csv.field_size_limit(1 << 24)
            delimiter = "\t" if tabs else _delimiter(file.readline())
            file.seek(0)
            reader = csv.DictReader(
                file, delimiter=delimiter, quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
            )
            if not _has_path(list(reader.fieldnames or [])):
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
        if _has_path(next(csv.reader([header], delimiter=delimiter), [])):
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
    values = {k.strip().lower(): v for k, v in row.items() if isinstance(k, str)}
    path = next((values[c] for c in _PATH_COLUMNS if values.get(c)), None)
    given = next((values[c] for c in _ID_COLUMNS if values.get(c)), None)
    if not path:
        problem = row.get(None) or "the row has no path"  # type: ignore[call-overload]
        return failed(given or fallback, source, DecodeError(str(problem)))
    text = next((values[c] for c in _TEXT_COLUMNS if values.get(c)), None)
    try:
        full = join(folder, path)
        stretch = stretch_of(values)
    except InputError as error:
        return failed(given or fallback, source, error)
    return media_record(
        id=utf8_name(given or path),
        path=full,
        source=utf8_name(full) if stretch == Stretch() else source,
        stretch=stretch,
        text=None if text is None else utf8_name(text),
    )


def _has_path(header: list[str]) -> bool:
    return any(name.strip().lower() in _PATH_COLUMNS for name in header)
