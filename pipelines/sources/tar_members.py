"""The members of a tar, and of the tars that are joined behind it, in order.

A tar ends with a block of zeros. Where another follows (`cat a.tar b.tar`, joined `.tar.gz`), it is
gone on with. Python's reader also stops silently at a damaged header, so what it stopped at is
looked at.
"""

import tarfile
from collections.abc import Iterator

from dvse.errors import DecodeError

_BLOCK = tarfile.BLOCKSIZE


def members_of_all(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield all members, reading past the ends of joined archives.

    Raises:
        DecodeError: an end that is none: a damaged header, or a file that is cut short.
    """
    while True:
        member = archive.next()
        if member is not None:
            archive.members = []  # type: ignore[attr-defined]  # or it keeps every header
            yield member
        elif not _goes_on(archive):
            return


def _goes_on(archive: tarfile.TarFile) -> bool:
    """Whether another archive follows the end that was found; the reader is brought there.

    Raises:
        DecodeError: not the block of zeros that ends a tar.
    """
    file = archive.fileobj
    assert file is not None
    file.seek(archive.offset)
    block, position = file.read(_BLOCK), archive.offset
    if not block:
        raise DecodeError("it ends without the end-of-archive mark, so it may be cut short")
    if not _is_end(block):
        raise DecodeError(f"the header at byte {archive.offset} is damaged")
    while _is_end(block):
        position += _BLOCK
        block = file.read(_BLOCK)
    if not block:
        return False
    if block[257:262] != b"ustar" and not _is_header(block):
        if not any(block) and len(block) < _BLOCK:
            return False
        raise DecodeError(f"what stands behind its end, at byte {position}, is no tar")
    archive.offset = position
    return True


def _is_end(block: bytes) -> bool:
    return block.count(0) == len(block) == _BLOCK


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
