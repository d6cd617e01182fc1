"""Taking LZ4 frames apart, in plain Python: no library that is here reads them.

A codebook is noise to LZ4, which leaves most of it as it is, so this is fast enough for megabytes.
Sums that are stored beside the blocks are not checked: what comes out is checked as any dump.

Frames and blocks as the format's description has them (lz4_Frame_format.md, lz4_Block_format.md).
*Deviations*: no dictionaries.
"""

import struct
from collections.abc import Iterator
from typing import IO

MAGIC = b"\x04\x22\x4d\x18"
_WINDOW = 1 << 16
_SIZES = {4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22}
_STORED = 1 << 31


def lz4_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the content of the first frame, a block of at most 4 MB at a time.

    Raises:
        ValueError: no LZ4 frame, or damaged.
        EOFError: it ends too early.
    """
    if _exactly(file, 4) != MAGIC:
        raise ValueError("no LZ4 frame")
    flags, sizes = _exactly(file, 2)
    if flags >> 6 != 1 or flags & 1 or sizes >> 4 & 7 not in _SIZES:
        raise ValueError("an LZ4 frame of another kind")
    largest, are_linked = _SIZES[sizes >> 4 & 7], not flags & 32
    _exactly(file, 1 + (8 if flags & 8 else 0))
    before = b""
    while size := struct.unpack("<I", _exactly(file, 4))[0]:
        if size & ~_STORED > largest:
            raise ValueError("an LZ4 block larger than its frame allows")
        block = _exactly(file, size & ~_STORED)
        if flags & 16:
            _exactly(file, 4)
        content = block if size & _STORED else _expanded(block, before, largest)
        if are_linked:
            before = (before + content)[-_WINDOW:]
        yield content


def _expanded(block: bytes, before: bytes, largest: int) -> bytes:
    """Literals and copies of what came before, in turn; the last are literals."""
    out, at = bytearray(before), 0
    most = len(before) + largest
    while True:
        token = block[at]
        count, at = _length(block, at + 1, token >> 4)
        if at + count > len(block) or len(out) + count > most:
            raise ValueError("an LZ4 block that ends too early")
        out += block[at : at + count]
        at += count
        if at == len(block):
            return bytes(out[len(before) :])
        offset = block[at] | block[at + 1] << 8
        count, at = _length(block, at + 2, token & 15)
        count += 4
        if not 0 < offset <= len(out) or len(out) + count > most:
            raise ValueError("an LZ4 block that copies from nowhere")
        start = len(out) - offset
        piece = out[start : start + count]
        if offset < count:  # what is being written is read
            piece = piece * (count // offset + 1)
        out += piece[:count]


def _length(block: bytes, at: int, start: int) -> tuple[int, int]:
    """Return a length whose first four bits are known, and where what follows begins."""
    if start < 15:
        return start, at
    while True:
        more = block[at]
        start, at = start + more, at + 1
        if more != 255:
            return start, at


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError("it ends too early")
    return data
