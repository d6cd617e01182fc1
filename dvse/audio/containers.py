"""Is the file whole, and is it one recording? Asked before a decoder sees it.

A decoder takes what is there of a truncated WAV, AU or Ogg and says nothing; it believes the
length that the header of an MP3 guesses; it reads the first of joined recordings. Here the
structure of the file is looked at, without decoding: `survey` says why it is refused, or cuts it
into pieces that a decoder reads to the end.
"""

import struct
from dataclasses import replace
from typing import BinaryIO

from dvse.audio.chunk_sizes import survey_caf, survey_riff, survey_voc, survey_w64
from dvse.audio.foreign_sizes import survey_foreign, survey_sox
from dvse.audio.mpeg_frames import id3_size, survey_mpeg
from dvse.audio.ogg_pages import survey_ogg
from dvse.audio.pieces import WHOLE, Piece, PieceFile, Survey, without_length
from dvse.audio.stated_sizes import survey_au, survey_avr, survey_nist

_FLAC = b"fLaC\x00\x00\x00\x22"
_IRCAM = frozenset(bytes(m) for n in range(1, 5) for m in ((0x64, 0xA3, n, 0), (0, n, 0xA3, 0x64)))
_BLOCK = 1 << 20
_FOREIGN = (
    *(b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11", b"#!AMR", b"FLV\x01"),  # Matroska, ASF
    *(b"\x0bw", b"\x7f\xfe\x80\x01", b"MAC ", b"wvpk", b"TTA1", b".RMF", b"MPCK", b"MP+"),  # AC-3
    *(b"ADIF", b"\xff\xf0", b"\xff\xf1", b"\xff\xf8", b"\xff\xf9"),  # AAC
    *(b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"FWSE", b"ajkg"),
)


def survey(file: BinaryIO) -> Survey:
    """Return what the structure of a file says. Leaves the file at its start.

    >>> import io
    >>> survey(io.BytesIO(b"RIFF" + bytes(4) + b"WAVEdata" + bytes([8, 0, 0, 0]) + b"12")).problem
    'truncated, at least 6 bytes are missing at its end; copy it again'
    """
    size = file.seek(0, 2)
    try:
        return _survey(file, size)
    except (struct.error, ValueError, IndexError):
        return Survey(problem="truncated or damaged inside its header; copy it again")
    finally:
        file.seek(0)


def is_foreign(start: bytes) -> bool:
    """Whether the first bytes are those of a container that FFmpeg reads and libsndfile does not.

    >>> is_foreign(b"....ftypM4A "), is_foreign(b"RIFF....WAVE")
    (True, False)
    """
    return (
        start[4:8] in (b"ftyp", b"moov", b"mdat")
        or start.startswith(_FOREIGN)
        or (start[:4] == b"RIFF" and start[8:12] != b"WAVE")
    )


def _survey(file: BinaryIO, size: int) -> Survey:
    start = _after_id3(file)
    file.seek(start)
    magic = file.read(16)
    if is_foreign(magic):
        return survey_foreign(file, size, magic, start)
    if start and magic[:4] != b"fLaC":
        return survey_mpeg(file, size, start) or _behind_tag(file, start, size)
    match magic[:4], magic[8:12]:
        case (b"RIFF" | b"RF64" | b"BW64", b"WAVE"):
            return survey_riff(file, size)
        case (b"RIFX", b"WAVE"):
            return survey_riff(file, size, order=">")
        case (b"FORM", b"AIFF" | b"AIFC"):
            return survey_riff(file, size, order=">", wanted=b"SSND")
        case (b"FORM", b"8SVX" | b"16SV"):
            return survey_riff(file, size, order=">", wanted=b"BODY")
        case (b"FORM", b"MAUD"):
            return survey_riff(file, size, order=">", wanted=b"MDAT")
        case (b".SoX" | b"XoS.", _):
            return survey_sox(file, size)
        case (b"OggS", _):
            return survey_ogg(file, size)
        case (b"fLaC", _):
            return _survey_flac(file, size, start)
        case (b".snd" | b"dns.", _):
            return survey_au(file, size)
        case (b"riff", _):
            return survey_w64(file, size)
        case (b"caff", _):
            return survey_caf(file, size)
        case (b"NIST", _):
            return survey_nist(file, size)
        case (b"Crea", b" Voi"):
            return survey_voc(file, size)
        case (b"2BIT", _):
            return survey_avr(file, size)
        case (name, _) if name in _IRCAM:
            return without_length("an IRCAM file")
        case (b"PVF1", _):
            return without_length("a PVF file")
        case (b" paf" | b"fap ", _):
            return without_length("a PAF file")
    return survey_mpeg(file, size, start) or WHOLE


def _behind_tag(file: BinaryIO, start: int, size: int) -> Survey:
    """A file that a tag was put in front of, though its kind has none."""
    bare = PieceFile(file, Piece(start=start, stop=size))
    found = _survey(bare, size - start)  # type: ignore[arg-type]
    pieces = found.pieces or (Piece(start=0, stop=size - start),)
    moved = [replace(p, start=p.start + start, stop=p.stop + start) for p in pieces]
    return replace(found, pieces=tuple(moved))


def _after_id3(file: BinaryIO) -> int:
    position = 0
    while True:
        file.seek(position)
        length = id3_size(file.read(10))
        if not length:
            return position
        position += length


def _shortest_flac(head: bytes) -> int:
    """How many bytes a stream has at least: its frames, of the smallest size that it states."""
    if len(head) < 42 or not head.startswith(_FLAC):
        return 4
    longest_block = int.from_bytes(head[10:12])
    smallest_frame = int.from_bytes(head[12:15])
    num_samples = int.from_bytes(head[21:26]) & ((1 << 36) - 1)
    return 42 + num_samples // max(longest_block, 1) * smallest_frame


def _survey_flac(file: BinaryIO, size: int, start: int) -> Survey:
    """FLAC has no end: another beginning is looked for in all bytes where one may be."""
    starts = [start]
    file.seek(start)
    position, tail = start + _shortest_flac(file.read(42)), b""
    file.seek(position)
    while block := file.read(_BLOCK):
        looked, base = tail + block if tail else block, position - len(tail)
        found = looked.find(_FLAC)
        while found >= 0:
            starts.append(base + found)
            found = looked.find(_FLAC, found + 1)
        position += len(block)
        tail = looked[-len(_FLAC) + 1 :]
    if len(starts) == 1:
        return WHOLE
    stops = [*starts[1:], size]
    return Survey(pieces=tuple(Piece(start=a, stop=b) for a, b in zip(starts, stops, strict=True)))
