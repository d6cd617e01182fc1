"""MPEG audio (MP3, MP2) frame by frame: where a stream begins, how long it is, where another joins.

A header in front (Xing, Info) states the number of frames, but only some files have one, and of
joined files it counts the first part. So every frame header is looked at, four bytes each: the
count is exact for constant, average and variable rates. Tags (ID3v1, ID3v2, APE, Lyrics3) and
junk between frames are stepped over. Read: ISO/IEC 11172-3 and 13818-3 (2.4.2.3).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

from dvse.audio.pieces import WHOLE, Piece, Survey, truncated

_KBIT_S = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44_100, 48_000, 32_000)
_LOOKED_AT = 40  # up to a Xing header's count of frames: 4 + 2 + 32 bytes before its name
_BLOCK = 1 << 16
_INFO = (b"Xing", b"Info")
_ID3V1_SIZE = 128
_NUM_IN_A_ROW = 4
"""Frames that must follow each other before bytes are taken for MPEG audio."""
_LOST_FRAMES = 4
"""Frames at the seams that a decoder may leave out: their bits lie in frames that are not there."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """What a header says: a stream keeps version, layer, rate and the number of channels."""

    kind: tuple[int, int, int, bool]
    num_bytes: int
    num_samples: int
    info_at: int


@lru_cache(maxsize=4096)
def _parsed(header: bytes) -> _Frame | None:
    bits = int.from_bytes(header)
    version, layer = (bits >> 19) & 3, 4 - ((bits >> 17) & 3)
    kbit_s, rate, padding = (bits >> 12) & 15, (bits >> 10) & 3, (bits >> 9) & 1
    if bits >> 21 != 0x7FF or version == 1 or layer == 4 or kbit_s in (0, 15) or rate == 3:
        return None
    is_first = version == 3
    rate_hz = _RATES_HZ[rate] >> {3: 0, 2: 1, 0: 2}[version]
    per_s = 1000 * _KBIT_S[1 if is_first else 2, layer][kbit_s - 1]
    is_mono = (bits >> 6) & 3 == 3
    if layer == 1:
        num_samples, num_bytes = 384, (12 * per_s // rate_hz + padding) * 4
    else:
        num_samples = 576 if layer == 3 and not is_first else 1152
        num_bytes = num_samples // 8 * per_s // rate_hz + padding
    side = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}
    return _Frame((version, layer, rate_hz, is_mono), num_bytes, num_samples,
                  4 + side[is_first, is_mono])  # fmt: skip


@dataclass
class _Track:
    """Frames in a row: a stream of its own."""

    start: int
    first: _Frame
    promised: int | None
    num_frames: int = 0
    stop: int = 0
    cut_bytes: int = 0

    @property
    def is_as_promised(self) -> bool:
        return self.promised == self.num_frames


@dataclass
class _Reader:
    """Looks at few bytes at many places, reading blocks."""

    file: BinaryIO
    size: int
    _start: int = 0
    _block: bytes = field(default=b"", repr=False)

    def at(self, position: int, count: int) -> bytes:
        offset = position - self._start
        if offset < 0 or offset + count > len(self._block):
            self.file.seek(position)
            self._start, self._block, offset = position, self.file.read(max(_BLOCK, count)), 0
        return self._block[offset : offset + count]


def survey_mpeg(file: BinaryIO, size: int, start: int) -> Survey | None:
    """Return the pieces of MPEG audio that begins near `start`; `None` where there is none."""
    reader = _Reader(file, size)
    first = _next_frames(reader, start, limit=start + (1 << 20))
    if first is None:
        return None
    if first == start and (stop := _stated_stop(reader, start)) is not None:
        # The stream is as long as its header says, to the byte: nothing is cut, nothing joined.
        return WHOLE if start == 0 else Survey(pieces=(Piece(start=start, stop=stop),))
    tracks = list(_tracks(reader, first))
    if len({track.first.kind[2] for track in tracks}) > 1:
        return Survey(problem="streams of different sample rates are joined; cut it apart")
    # Behind junk a header is not where decoders look for it; they decode each frame there is.
    is_alone = len(tracks) == 1 and first == start
    lost = sum(max(0, (track.promised or 0) - track.num_frames - 1) for track in tracks)
    if lost and not is_alone:
        return Survey(problem=f"truncated, {lost} frames of a part are missing; copy it again")
    last = tracks[-1]
    if last.cut_bytes and not last.is_as_promised:
        return truncated(last.cut_bytes)
    if is_alone and last.is_as_promised and start == 0:
        return WHOLE
    return Survey(pieces=tuple(_piece(track, is_alone) for track in tracks if track.num_frames))


def _stated_stop(reader: _Reader, start: int) -> int | None:
    """Where a Xing or Info header says that its stream ends, if the file ends there, tag or not."""
    looked = reader.at(start, _LOOKED_AT + 16)
    frame = _parsed(looked[:4])
    if frame is None or not _promised(looked, frame):
        return None
    has_bytes = looked[frame.info_at + 7] & 2
    count = looked[frame.info_at + 12 : frame.info_at + 16]
    stop = start + int.from_bytes(count)
    if not has_bytes or len(count) < 4 or stop <= start:
        return None
    is_tagged = stop + _ID3V1_SIZE == reader.size and reader.at(stop, 3) == b"TAG"
    return stop if stop == reader.size or is_tagged else None


def _piece(track: _Track, is_alone: bool) -> Piece:
    if is_alone and (track.promised or 0) >= track.num_frames:
        return Piece(start=track.start, stop=track.stop)
    # The decoder guesses a length from the size, and stops there: let the guess be too long.
    start = track.start if track.promised is None else track.start + track.first.num_bytes
    samples = max(0, track.num_frames - _LOST_FRAMES) * track.first.num_samples
    claimed = 64 * (track.stop - start) + (1 << 20)
    return Piece(start=start, stop=track.stop, claimed_size=claimed, num_samples=samples)


def _tracks(reader: _Reader, position: int) -> Iterator[_Track]:
    track: _Track | None = None
    while True:
        looked = reader.at(position, _LOOKED_AT + 16)
        frame = _parsed(looked[:4]) if len(looked) >= 4 else None
        fits = frame is not None and (track is None or frame.kind == track.first.kind)
        if frame is not None and fits and position + frame.num_bytes <= reader.size:
            promised = _promised(looked, frame)
            if track is None or promised is not None:
                if track is not None:
                    yield track
                track = _Track(position, frame, promised)
            if promised is None:
                track.num_frames += 1
            position += frame.num_bytes
            num_more, position = _more_frames(reader, position, track.first.kind)
            track.num_frames += num_more
            track.stop = position
            continue
        if track is not None:
            track.cut_bytes = (
                position + frame.num_bytes - reader.size if frame is not None and fits else 0
            )
            following = _next_frames(reader, _after_tags(reader, position), limit=reader.size)
            yield track
            if following is None:
                return
            track, position = None, following


def _more_frames(
    reader: _Reader, position: int, kind: tuple[int, int, int, bool]
) -> tuple[int, int]:
    """How many whole frames of a stream surely follow, and where they end: the quick part."""
    count = 0
    while True:
        block = reader.at(position, min(_BLOCK, reader.size - position))
        # A frame that holds one of these names may begin another stream.
        found = [at for at in map(block.find, _INFO) if at >= 0]
        place, last = 0, min([len(block), *found]) - _LOOKED_AT - 16
        while place < last:
            frame = _parsed(block[place : place + 4])
            if frame is None or frame.kind != kind or place + frame.num_bytes > len(block):
                break
            place += frame.num_bytes
            count += 1
        position += place
        if not place:
            return count, position


def _promised(looked: bytes, frame: _Frame) -> int | None:
    """The number of frames that a Xing or Info header states (0: it states none)."""
    if looked[frame.info_at : frame.info_at + 4] not in _INFO:
        return None
    has_count = looked[frame.info_at + 7] & 1
    count = looked[frame.info_at + 8 : frame.info_at + 12]
    return int.from_bytes(count) if has_count else 0


def _next_frames(reader: _Reader, position: int, limit: int) -> int | None:
    """Return where frames follow each other again (or one ends the file), `None` for nowhere."""
    while position < min(limit, reader.size - 3):
        block = reader.at(position, min(_BLOCK, reader.size - position))
        found = block.find(b"\xff")
        if found < 0:
            position += len(block)
            continue
        position += found
        if _is_stream(reader, position):
            return position
        position += 1
    return None


def _is_stream(reader: _Reader, position: int) -> bool:
    kind = None
    for _ in range(_NUM_IN_A_ROW):
        frame = _parsed(reader.at(position, 4))
        if frame is None or kind not in (None, frame.kind):
            return kind is not None and _is_tag(reader.at(position, 8))
        kind = frame.kind
        position += frame.num_bytes
        if position >= reader.size - 3:
            return position <= reader.size
    return True


def _is_tag(looked: bytes) -> bool:
    return looked.startswith((b"TAG", b"ID3", b"APETAGEX", b"LYRICSBE"))


def _after_tags(reader: _Reader, position: int) -> int:
    while True:
        looked = reader.at(position, 32)
        if looked.startswith(b"TAG"):
            position += 128
        elif looked.startswith(b"APETAGEX") and len(looked) == 32:
            position += 32 + int.from_bytes(looked[12:16], "little")
        elif (length := id3_size(looked)) > 0:
            position += length
        else:
            return position


def id3_size(looked: bytes) -> int:
    r"""Return the size of the ID3v2 tag that begins here, 0 where none does.

    >>> id3_size(b"ID3\x04\x00\x00\x00\x00\x02\x01")
    267
    """
    if len(looked) < 10 or looked[:3] != b"ID3" or max(looked[6:10]) > 0x7F:
        return 0
    size = 0
    for byte in looked[6:10]:
        size = size << 7 | byte
    return 10 + size + (10 if looked[5] & 0x10 else 0)
