"""What native libraries print (libtiff, libmpg123, libjxl) goes into messages, not to the terminal.

They write to descriptor 2, past Python. While a decoder runs, that descriptor leads to memory;
lines of those libraries are kept for the message of an error, and whatever else was written
meanwhile (by other threads) is passed on. Where memory files do not exist (not Linux), nothing is
caught.
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dvse.media_file import printable

_NATIVE = re.compile(
    rb"libmpg123|mpg123|^(Warning|Note|WARNING): .*(Xing|frame|resync|stream|bitrate|junk|header)"
    rb"|^\s*$|^(_?TIFF|JPEG|LZW|Fax|Zip|ZIP|LogLuv|PixarLog|Ojpeg|OJPEG|Predictor|Dump|Pack|Next"
    rb"|Thunder|JBIG|LERC|ZSTD|WebP|LZMA|Old-style|Fax3|Fax4|Horizontal|uv_|foo|Internal)\w*: "
    rb"|: (Warning, |Error |Bad |Cannot |Can't |Read error|Not a TIFF|Using |Premature "
    rb"|Uncompressed |Corrupt|Invalid |Incorrect |Unexpected |Decoding error|Not enough data)"
    rb"|JPEG2000|jxl|libheif|libde265|libpng",
    re.MULTILINE,
)
_MAX_SHOWN = 200
_lock = threading.Lock()


class _Shared:
    """The memory file, the true descriptor, and how many threads are inside."""

    depth = 0
    memory = -1
    true = -1


class NativeLines:
    """What was caught, filled in at the end; as text it is the tail of a message."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __str__(self) -> str:
        shown = "; ".join(self.lines)
        return f" ({shown[:_MAX_SHOWN]})" if shown else ""


@contextmanager
def native_lines(caught: NativeLines | None = None) -> Iterator[NativeLines]:
    r"""Catch what native libraries print inside; what is yielded is filled in at the end.

    >>> with native_lines() as caught:
    ...     _ = os.write(2, b"TIFFReadDirectory: Warning, Unknown field.\n")
    >>> str(caught)
    ' (TIFFReadDirectory: Warning, Unknown field.)'
    """
    caught = NativeLines() if caught is None else caught
    if not hasattr(os, "memfd_create"):
        yield caught
        return
    _enter()
    try:
        yield caught
    finally:
        caught.lines = _leave()


def _enter() -> None:
    with _lock:
        if _Shared.depth == 0:
            if _Shared.memory < 0:
                _Shared.memory = os.memfd_create("native-lines")
            try:
                _Shared.true = os.dup(2)
            except OSError:  # closed: nobody reads what is written there
                _Shared.true = -1
            os.dup2(_Shared.memory, 2)
        _Shared.depth += 1


def _leave() -> list[str]:
    with _lock:
        _Shared.depth -= 1
        if _Shared.depth:
            return []
        if _Shared.true >= 0:
            os.dup2(_Shared.true, 2)
            os.close(_Shared.true)
        else:
            os.close(2)
        size = os.lseek(_Shared.memory, 0, os.SEEK_CUR)
        if not size:
            return []
        data = os.pread(_Shared.memory, min(size, 1 << 20), 0)
        os.ftruncate(_Shared.memory, 0)
        os.lseek(_Shared.memory, 0, os.SEEK_SET)
    lines = data.splitlines(keepends=True)
    foreign = b"".join(line for line in lines if not _NATIVE.search(line))
    if foreign and _Shared.true >= 0:
        os.write(2, foreign)
    return [printable(line.strip()) for line in lines if _NATIVE.search(line) and line.strip()]
