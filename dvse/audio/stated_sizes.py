"""Containers whose header states the size of the sound behind it: AU, NIST SPHERE, AVR, HTK."""

import re
import struct
from typing import BinaryIO

from dvse.audio.pieces import JOINED, WHOLE, Piece, Survey, truncated

_UNKNOWN_SIZE = 0x7F000000


def survey_au(file: BinaryIO, size: int) -> Survey:
    """Return the survey of Sun's AU (`.snd`), in either byte order."""
    file.seek(0)
    head = file.read(24)
    order = ">" if head[:4] == b".snd" else "<"
    if len(head) < 24:
        return truncated(24 - len(head))
    start, length = struct.unpack(order + "II", head[4:12])
    if length == 0 and size > start:
        header = head[:8] + b"\xff\xff\xff\xff" + head[12:]
        return Survey(pieces=(Piece(start=24, stop=size, header=header),))
    if length >= _UNKNOWN_SIZE and start + length > size:
        return WHOLE
    if start + length <= size:
        return _alone(file, start + length, (b".snd", b"dns."))
    return truncated(start + length - size)


def survey_nist(file: BinaryIO, size: int) -> Survey:
    """Return the survey of NIST SPHERE; a header without a count promises nothing."""
    file.seek(8)
    start = int(file.read(8).strip() or 1024)
    file.seek(0)
    header = file.read(start)
    stated = [
        re.search(rb"^%s -i (\d+)" % name, header, re.MULTILINE)
        for name in (b"sample_count", b"channel_count", b"sample_n_bytes")
    ]
    if b"end_head" not in header:
        return truncated(max(1, start - size))
    length = 1
    for found in stated:
        length *= int(found[1]) if found else 0
    if re.search(rb"^sample_coding -s\d+ \S*shorten", header, re.MULTILINE) or not length:
        return WHOLE
    missing = start + length - size
    return truncated(missing) if missing > 0 else _alone(file, start + length, (b"NIST",))


def survey_avr(file: BinaryIO, size: int) -> Survey:
    """Return the survey of Audio Visual Research's AVR."""
    file.seek(12)
    head = file.read(18)
    is_stereo, bits = struct.unpack(">hh", head[:4])
    (num_frames,) = struct.unpack(">I", head[14:18])
    num_bytes = num_frames * (2 if is_stereo else 1) * (bits // 8)
    return truncated(128 + num_bytes - size)


def survey_htk(file: BinaryIO, size: int) -> Survey:
    """Return the survey of an HTK waveform."""
    file.seek(0)
    num_samples, _, num_bytes = struct.unpack(">IIH", file.read(10))
    return truncated(12 + num_samples * num_bytes - size)


def _alone(file: BinaryIO, stop: int, magics: tuple[bytes, ...]) -> Survey:
    file.seek(stop)
    return JOINED if file.read(4) in magics else WHOLE
