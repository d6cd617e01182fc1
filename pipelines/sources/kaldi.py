"""Kaldi's `wav.scp`: `utterance path` a line, with `text` (transcripts) and `segments` beside it.

A line that is a command (it ends in `|`) is never run: it becomes a failed input.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

from dvse.errors import InputError
from dvse.remote.address import join, parent_of
from dvse.remote.remote_path import location
from pipelines.sources.contents import Contents, contents_of
from pipelines.sources.entry import Entry
from pipelines.sources.kinds import media_record
from pipelines.sources.record import Record, failed, utf8_name
from pipelines.sources.source import Source
from pipelines.sources.stretches import Stretch, stretch_of


class KaldiSource(Source):
    """Lines of a wav.scp, or of the segments beside it. Paths count from its folder."""

    def contents(self, entry: Entry) -> Contents:
        """Return the segments, and the recordings that none of them names."""
        beside = (join(parent_of(entry.path), name) for name in ("segments", "text"))
        return contents_of(self.records(entry), beside=beside)

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the utterances from number `start` on."""
        transcripts = _transcripts(join(parent_of(entry.path), "text"))
        for number, utterance in enumerate(_utterances(entry.path)):
            if number >= start:
                yield _record(entry, utterance, transcripts)


@dataclass(frozen=True, slots=True)
class _Utterance:
    id: str
    path: str
    at: str
    times: tuple[str, str] | None = None


def _utterances(path: str) -> Iterator[_Utterance]:
    """The lines of `segments`, then the recordings of `wav.scp` that they leave out."""
    recordings = {
        id: _Utterance(id, rest.strip(), f"{path}:{at}")
        for at, line in _lines(path)
        for id, _, rest in [line.partition(" ")]
    }
    segments, used = join(parent_of(path), "segments"), set()
    if location(segments).is_file():
        for at, line in _lines(segments):
            id, recording, *times = [*line.split(), "", ""][:4]
            used.add(recording)
            found = recordings.get(recording)
            where = f"{segments}:{at}"
            yield _Utterance(id, found.path if found else "", where, (times[0], times[1]))
    yield from (r for id, r in recordings.items() if id not in used)


def _record(entry: Entry, utterance: _Utterance, transcripts: dict[str, str]) -> Record:
    id, source, path = utf8_name(utterance.id), utf8_name(utterance.at), utterance.path
    try:
        if not path:
            raise InputError("the line names no file, or no recording of wav.scp")
        if path.endswith("|"):
            raise InputError("the line is a command; commands are not run, name a file instead")
        stretch = Stretch() if utterance.times is None else _stretch(*utterance.times)
        full = join(parent_of(entry.path), path)
    except InputError as error:
        return failed(id, source, error)
    return media_record(
        id=id,
        path=full,
        source=utf8_name(full) if utterance.times is None else source,
        text=transcripts.get(utterance.id),
        stretch=stretch,
    )


def _stretch(start: str, end: str) -> Stretch:
    """Times of a segment; an end below 0 is that of the recording."""
    return stretch_of({"start": start or "-", "end": "" if end.startswith("-1") else end or "-"})


def _lines(path: str) -> Iterator[tuple[int, str]]:
    with io.TextIOWrapper(
        location(path).open("rb"), encoding="utf-8-sig", errors="surrogateescape", newline="\n"
    ) as file:
        for at, line in enumerate(file, start=1):
            line = line.strip().replace("\t", " ", 1)
            if line:
                yield at, line


def _transcripts(path: str) -> dict[str, str]:
    if not location(path).is_file():
        return {}
    pairs = (line.partition(" ") for _, line in _lines(path))
    return {id: utf8_name(words.strip()) for id, _, words in pairs}
