"""What the structure of a container says that FFmpeg reads: MP4, TTA, RIFF of other kinds, SoX.

FFmpeg stops where the first recording of a joined file ends, and takes what is there of one that is
cut short where the header's count is not asked. Both are looked for here.
"""

import struct
from typing import BinaryIO

from dvse.audio.pieces import JOINED, WHOLE, Survey, truncated

_NO_SIZE = (0, 0xFFFFFFFF)
_MOST_TAGS = 1 << 16
"""Bytes behind a recording in which tags may stand."""


def survey_foreign(file: BinaryIO, size: int, magic: bytes, start: int) -> Survey:
    """Return the survey of a container whose first bytes are `magic`, behind a tag of `start`."""
    if magic[4:8] == b"ftyp":
        return _survey_boxes(file, size, start)
    if magic[:4] == b"TTA1":
        return _survey_tta(file, size, start)
    if magic[:4] == b"RIFF":
        (length,) = struct.unpack("<I", magic[4:8])
        return WHOLE if length in _NO_SIZE else truncated(start + 8 + length - size)
    return WHOLE


def survey_sox(file: BinaryIO, size: int) -> Survey:
    """Return the survey of SoX's own format, in either byte order; no count promises nothing."""
    file.seek(0)
    order = "<" if file.read(4) == b".SoX" else ">"
    header, num_samples = struct.unpack(order + "IQ", file.read(12))
    return truncated(4 + header + 4 * num_samples - size) if num_samples else WHOLE


def _survey_boxes(file: BinaryIO, size: int, start: int) -> Survey:
    """MP4 and its like: one description of a file, then boxes to the end."""
    position, num_files = start, 0
    while position + 8 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        num_files += kind == b"ftyp"
        if num_files > 1:
            return JOINED
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        if length < 8:
            break  # to the end, or none of its boxes
        position += length
    return WHOLE


def _survey_tta(file: BinaryIO, size: int, start: int) -> Survey:
    """True Audio: a header, and the size of each frame."""
    file.seek(start)
    rate_hz, num_samples = struct.unpack("<II", file.read(18)[10:])
    num_frames = -(-num_samples * 245 // (256 * rate_hz))
    file.seek(start + 22)
    sizes = struct.unpack(f"<{num_frames}I", file.read(4 * num_frames))
    stop = start + 22 + 4 * num_frames + 4 + sum(sizes)
    if stop > size:
        return truncated(stop - size)
    file.seek(stop)
    return JOINED if b"TTA1" in file.read(_MOST_TAGS) else WHOLE
