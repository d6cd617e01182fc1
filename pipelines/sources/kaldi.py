"""Kaldi's `wav.scp`: `utterance path` a line; transcripts come from the file `text` beside it.

A line that is a command (it ends in `|`) is never run: it becomes a failed input.
"""

# ruff: noqa: PTH113, PTH118, PTH120
# Paths stay strings: they come by the million, and os.path is several times faster.

import os
from collections.abc import Iterator
from pathlib import Path

from dvse.errors import InputError
from pipelines.sources.entry import Entry
from pipelines.sources.kinds import media_record
from pipelines.sources.record import Record, failed, utf8_name
from pipelines.sources.source import Source


class KaldiSource(Source):
    """Lines of a wav.scp. Paths count from its folder."""

    def count(self, entry: Entry) -> int:
        """Return the number of lines that are not empty."""
        return sum(1 for _ in _lines(entry.path))

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the lines from number `start` on."""
        folder = os.path.dirname(entry.path)
        transcripts = _transcripts(os.path.join(folder, "text"))
        for number, (at, line) in enumerate(_lines(entry.path)):
            if number < start:
                continue
            id, _, path = line.partition(" ")
            source, path = f"{utf8_name(entry.path)}:{at}", path.strip()
            if not path:
                yield failed(utf8_name(id), source, InputError("the line names no file"))
            elif path.endswith("|"):
                yield failed(
                    utf8_name(id),
                    source,
                    InputError("the line is a command; commands are not run, name a file instead"),
                )
            else:
                full = os.path.join(folder, path)
                yield media_record(
                    id=utf8_name(id),
                    path=full,
                    source=utf8_name(full),
                    text=transcripts.get(id),
                )


def _lines(path: str) -> Iterator[tuple[int, str]]:
    with Path(path).open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for at, line in enumerate(file, start=1):
            line = line.strip().replace("\t", " ", 1)
            if line:
                yield at, line


def _transcripts(path: str) -> dict[str, str]:
    if not os.path.isfile(path):
        return {}
    pairs = (line.partition(" ") for _, line in _lines(path))
    return {id: utf8_name(words.strip()) for id, _, words in pairs}
