"""Is the file whole? Asked of the containers that a decoder reads silently when they are cut off.

libsndfile takes what is there of a truncated WAV, AIFF or Ogg file and says nothing. Here the
sizes that the headers promise are compared with the bytes that exist. FLAC and MP3 need no check:
their headers state the number of samples, and the decoder counts them.
"""

import struct
from typing import BinaryIO

_UNKNOWN_SIZE = 0x7FFFF000
"""Sizes from here on (or zero) are written by programs that stream and cannot know the length."""


def missing_bytes(file: BinaryIO) -> int:
    """Return how many bytes are missing at the end; 0 for a whole file or another container.

    Leaves the file at its start.

    >>> import io
    >>> missing_bytes(io.BytesIO(b"RIFF" + bytes(4) + b"WAVEdata" + bytes([8, 0, 0, 0]) + b"12"))
    6
    """
    size = file.seek(0, 2)
    file.seek(0)
    kind = file.read(12)
    try:
        if kind[:4] in (b"RIFF", b"RF64") and kind[8:] == b"WAVE":
            return _missing_in_chunks(file, size, b"data", "<")
        if kind[:4] == b"FORM" and kind[8:] in (b"AIFF", b"AIFC"):
            return _missing_in_chunks(file, size, b"SSND", ">")
        if kind[:4] == b"OggS":
            return _missing_in_last_page(file, size)
        return 0
    finally:
        file.seek(0)


def _missing_in_chunks(file: BinaryIO, size: int, wanted: bytes, order: str) -> int:
    position, size_64 = 12, None
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(order + "4sI", file.read(8))
        if name == b"ds64":
            size_64 = struct.unpack("<8xQ", file.read(16))[0]
        if name == wanted:
            if length == 0xFFFFFFFF and size_64:
                length = size_64
            elif length == 0 or length >= _UNKNOWN_SIZE:
                return 0
            return max(0, position + 8 + length - size)
        position += 8 + length + length % 2
    return max(1, position - size)


def _missing_in_last_page(file: BinaryIO, size: int) -> int:
    """Return how much of the last page of the Ogg stream is missing.

    Whether that page says it is the last does not count: recorders that were stopped leave it out.
    """
    file.seek(max(0, size - 70_000))  # a page has at most 65,307 bytes
    tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return 1
    length = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return max(0, length - len(page))
