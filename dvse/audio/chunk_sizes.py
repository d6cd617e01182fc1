"""Containers made of chunks that state their size: RIFF, RF64, AIFF, 8SVX, W64, CAF, VOC.

A decoder takes what is there of the sound and says nothing of what is not. Sizes that streaming
programs leave behind (0, or about the largest number) promise nothing: then the sound goes to the
end of the file. A second recording behind the first would be left out, so it is refused.
"""

import struct
from typing import BinaryIO

from dvse.audio.pieces import JOINED, WHOLE, Piece, Survey, truncated

_UNKNOWN_SIZE = 0x7F000000
"""Sizes from here on that pass the end of the file are written by programs that stream."""
_VOC = b"Creative Voice File\x1a"
_W64_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of every chunk behind its name


def survey_riff(file: BinaryIO, size: int, *, order: str = "<", wanted: bytes = b"data") -> Survey:
    """Return the survey of RIFF, RIFX, RF64, BW64 (`data`), AIFF (`SSND`), 8SVX (`BODY`)."""
    file.seek(0)
    (stated,) = struct.unpack(order + "4xI", file.read(8))
    position, size_64, is_found = 12, None, False
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(order + "4sI", file.read(8))
        if is_found and name in (b"RIFF", b"RIFX", b"RF64", b"FORM"):
            return JOINED
        if name == b"ds64" and not is_found:
            size_64 = struct.unpack("<8xQ", file.read(16))[0]
        if name == wanted and not is_found:
            is_found, rest = True, size - position - 8
            if length == 0xFFFFFFFF and size_64:
                length = size_64
            elif length == 0 and rest and stated + 8 != size:
                return Survey(pieces=(_to_the_end(file, position, size, order),))
            elif length == 0 or (length >= _UNKNOWN_SIZE and length > rest):
                return WHOLE
            if length > rest:
                return truncated(length - rest)
        if is_found and not name.isascii():
            break  # bytes behind the end, no chunk
        position += 8 + length + length % 2
    return WHOLE if is_found else truncated(max(1, position - size))


def _to_the_end(file: BinaryIO, position: int, size: int, order: str) -> Piece:
    """The file with the true size in place of none."""
    file.seek(0)
    header = bytearray(file.read(position + 8))
    for place, length in ((4, size - 8), (position + 4, size - position - 8)):
        struct.pack_into(order + "I", header, place, min(length, 0xFFFFFFFF))
    return Piece(start=len(header), stop=size, header=bytes(header))


def survey_w64(file: BinaryIO, size: int) -> Survey:
    """Return the survey of Sony's Wave64: names of 16 bytes, sizes of 64 bits that count both."""
    position = 40
    while position + 24 <= size:
        file.seek(position)
        name, length = struct.unpack("<16sQ", file.read(24))
        if name == b"data" + _W64_GUID:
            if length <= 24 or length >= 1 << 62:
                return _w64_to_the_end(file, position, size)
            missing = position + length - size
            return truncated(missing) if missing > 0 else _alone(file, position + length, b"riff")
        position += max(24, length + -length % 8)
    return truncated(max(1, position + 24 - size))


def _w64_to_the_end(file: BinaryIO, position: int, size: int) -> Survey:
    """A file without sizes, as programs that stream leave it: the true ones in their place."""
    if position + 24 == size:
        return WHOLE
    file.seek(0)
    header = bytearray(file.read(position + 24))
    for place, length in ((16, size), (position + 16, size - position)):
        struct.pack_into("<Q", header, place, length)
    return Survey(pieces=(Piece(start=len(header), stop=size, header=bytes(header)),))


def survey_caf(file: BinaryIO, size: int) -> Survey:
    """Return the survey of Apple's Core Audio Format."""
    position = 8
    while position + 12 <= size:
        file.seek(position)
        name, length = struct.unpack(">4sq", file.read(12))
        if name == b"data":
            if length < 0:
                return WHOLE
            missing = position + 12 + length - size
            return truncated(missing) if missing > 0 else _alone(file, position + 12 + length)
        position += 12 + max(0, length)
    return truncated(max(1, position + 12 - size))


def survey_voc(file: BinaryIO, size: int) -> Survey:
    """Return the survey of Creative's VOC: blocks of a kind and a size of 24 bits."""
    file.seek(20)
    position = int.from_bytes(file.read(2), "little")
    if _VOC in file.read():  # in any block: some programs write wrong sizes
        return JOINED
    while position < size:
        file.seek(position)
        head = file.read(4)
        if not 1 <= head[0] <= 9:
            return WHOLE
        if len(head) < 4:
            return truncated(4 - len(head))
        length = int.from_bytes(head[1:], "little")
        if length >= 0xFFFFF0:
            return WHOLE
        position += 4 + length
    return truncated(position - size)


def _alone(file: BinaryIO, stop: int, magic: bytes = b"caff") -> Survey:
    file.seek(stop + -stop % 8 if magic == b"riff" else stop)
    return JOINED if file.read(4) == magic else WHOLE
