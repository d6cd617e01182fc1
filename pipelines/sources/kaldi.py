"""Kaldi's `wav.scp`: `utterance path` a line, with `text` (transcripts) and `segments` beside it.

A line that is a command (it ends in `|`) is never run: it becomes a failed input.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dvse.errors import InputError
from dvse.remote.address import join, parent_of
from dvse.remote.remote_path import location
from pipelines.sources.contents import Contents, contents_of
from pipelines.sources.entry import Entry
from pipelines.sources.kinds import media_record
from pipelines.sources.record import ItemRef, Record, failed, utf8_name
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
    channel: str = ""
    problem: str = ""


def _utterances(path: str) -> Iterator[_Utterance]:
    """The lines of `segments`, then the recordings of `wav.scp` that they leave out."""
    recordings: dict[str, _Utterance] = {}
    repeated: list[_Utterance] = []
    for at, line in _lines(path):
        id, _, rest = line.partition(" ")
        found = _Utterance(id, rest.strip(), f"{path}:{at}")
        if id in recordings:
            problem = f"the name {id} stands in more than one line of wav.scp"
            repeated.append(replace(found, problem=problem))
        else:
            recordings[id] = found
    segments, used = join(parent_of(path), "segments"), set()
    if location(segments).is_file():
        for at, line in _lines(segments):
            fields = line.split()
            id, recording, start, end, channel = [*fields, *[""] * 5][:5]
            used.add(recording)
            named = recordings.get(recording)
            yield _Utterance(
                id,
                named.path if named else "",
                f"{segments}:{at}",
                (start, end),
                channel,
                f"expected 4 or 5 fields, received {len(fields)}" if len(fields) > 5 else "",
            )
    yield from (r for id, r in recordings.items() if id not in used)
    yield from repeated


def _record(entry: Entry, utterance: _Utterance, transcripts: dict[str, str]) -> Record:
    id, source, path = utf8_name(utterance.id), utf8_name(utterance.at), utterance.path
    try:
        if utterance.problem:
            raise InputError(utterance.problem)
        if not path:
            raise InputError("the line names no file, or no recording of wav.scp")
        if path.endswith("|"):
            raise InputError("the line is a command; commands are not run, name a file instead")
        stretch = Stretch() if utterance.times is None else _stretch(utterance)
        if (text := transcripts.get(utterance.id)) is not None:
            ItemRef.of_text(text)  # refuse what is no UTF-8
        full = join(parent_of(entry.path), path)
    except InputError as error:
        return failed(id, source, error)
    return media_record(
        id=id,
        path=full,
        source=utf8_name(full) if utterance.times is None else source,
        text=text,
        stretch=stretch,
    )


def _stretch(utterance: _Utterance) -> Stretch:
    """Times and channel of a segment; an end below 0 is that of the recording, as in Kaldi."""
    assert utterance.times is not None
    start, end = utterance.times
    end = "" if end.startswith("-1") else end or "-"
    return stretch_of({"start": start or "-", "end": end, "channel": utterance.channel})


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
    return {id: words.strip() for id, _, words in pairs}
