"""Ogg page by page: chained streams are cut apart, a last page that is cut off is seen.

A decoder reads the first link of a chain and calls the rest trailing bytes. Whether the last page
says that it is the last does not count: recorders that were stopped leave it out. Read: RFC 3533.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from dvse.audio.pieces import WHOLE, Piece, Survey, truncated

_AUDIO = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
_VIDEO = (b"\x80theora", b"BBCD", b"OVP80")
_HEADER, _FIRST = 27, 2


@dataclass
class _Link:
    start: int
    streams: list[bytes] = field(default_factory=list)

    def num(self, kinds: tuple[bytes, ...]) -> int:
        return sum(stream.startswith(kinds) for stream in self.streams)


@dataclass(frozen=True, slots=True)
class _Page:
    start: int
    is_first: bool
    body: bytes
    missing: int


def survey_ogg(file: BinaryIO, size: int) -> Survey:
    """Return the links of an Ogg file."""
    links: list[_Link] = []
    was_first, missing, stop = False, 1, size
    for page in _pages(file, size):
        if page.is_first and not was_first:
            links.append(_Link(page.start))
        if page.is_first and links:
            links[-1].streams.append(page.body)
        was_first, missing = page.is_first, page.missing
    if missing or not links:
        return truncated(missing or 1)
    for link in links:
        if link.num(_VIDEO):
            return Survey(problem="it holds a video too; extract the sound first")
        if link.num(_AUDIO) > 1:
            return Survey(problem="it holds several sound streams at once; extract one")
    if len(links) == 1:
        return WHOLE
    stops = [link.start for link in links[1:]] + [stop]
    return Survey(
        pieces=tuple(Piece(start=k.start, stop=e) for k, e in zip(links, stops, strict=True))
    )


def _pages(file: BinaryIO, size: int) -> Iterator[_Page]:
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(_HEADER + 255 + 8)
        if head[:4] != b"OggS":
            found = _find(file, position)
            if found is None:
                return  # tags or junk at the end
            position = found
            continue
        count = head[26] if len(head) >= _HEADER else 0
        table = head[_HEADER : _HEADER + count]
        body = head[_HEADER + count : _HEADER + count + 8]
        stop = position + _HEADER + count + sum(table)
        missing = max(stop - size, int(len(head) < _HEADER or len(table) < count), 0)
        is_first = len(head) > 5 and bool(head[5] & _FIRST)
        yield _Page(position, is_first, body, missing)
        position = stop


def _find(file: BinaryIO, position: int) -> int | None:
    while True:
        file.seek(position)
        block = file.read(1 << 16)
        found = block.find(b"OggS")
        if found >= 0:
            return position + found
        if len(block) < 4:
            return None
        position += len(block) - 3
