"""A dump as its bytes, whatever joblib compressed it by; told by its first bytes.

Every kind is taken apart a block at a time, so that a file that unpacks to gigabytes costs the
memory of what is read of it, and no dictionary is larger than joblib's own.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dvse.errors import WeightsFormatError
from pipelines.importing.lz4_frames import MAGIC, lz4_blocks

_BLOCK = 1 << 20
_LZMA_MEMORY = 128 << 20  # a dictionary of 64 MB, the largest of its presets, and what goes with it


def uncompressed(path: Path) -> IO[bytes]:
    """Open a file raw or compressed by zlib, gzip, bz2, xz, lzma or lz4; it can only be read.

    Raises:
        WeightsFormatError: an archive.
    """
    with path.open("rb") as file:
        start = file.read(6)
    blocks: Any = None
    if start[:2] == b"\x1f\x8b":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if start[:2] == b"BZ":
        return bz2.open(path, "rb")
    if start == b"\xfd7zXZ\x00" or start[:3] == b"\x5d\x00\x00":
        blocks = _lzma_blocks
    elif start[:1] == b"\x78":
        blocks = _zlib_blocks
    elif start[:4] == MAGIC:
        blocks = lz4_blocks
    elif start[:4] == b"PK\x03\x04":
        raise WeightsFormatError(
            f"{path}: expected a joblib dump, raw or compressed by zlib, gzip, bz2, xz or lz4, "
            "received a zip archive (torch or skops wrote it)"
        )
    return path.open("rb") if blocks is None else _Blocks(path, blocks)  # type: ignore[return-value]


class _Blocks:
    """What comes a block at a time, as a file."""

    def __init__(self, path: Path, blocks: Any) -> None:
        self._file = path.open("rb")
        self._blocks: Iterator[bytes] = blocks(self._file)
        self._ready = b""

    def read(self, size: int) -> bytes:
        parts, have = [self._ready], len(self._ready)
        while have < size:
            block = next(self._blocks, b"")
            if not block:
                break
            parts.append(block)
            have += len(block)
        joined = b"".join(parts)
        self._ready = joined[size:]
        return joined[:size]

    def __enter__(self) -> "_Blocks":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _zlib_blocks(file: IO[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj()
    while not inflate.eof:
        raw = inflate.unconsumed_tail or file.read(_BLOCK)
        if not raw:
            return
        if block := inflate.decompress(raw, _BLOCK):
            yield block


def _lzma_blocks(file: IO[bytes]) -> Iterator[bytes]:
    expand = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    while not expand.eof:
        raw = file.read(_BLOCK) if expand.needs_input else b""
        if expand.needs_input and not raw:
            return
        if block := expand.decompress(raw, _BLOCK):
            yield block
