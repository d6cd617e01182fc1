"""Compressed tars are read once: what counting one has unpacked is kept until it is tokenised.

A compressed archive has no index, so only reading all of it tells how many inputs it holds, and
that has to be known before any is tokenised. What was unpacked then lies in one file of the folder
for temporary files (TMPDIR), without a name: the system takes it back however the process ends.
The file is bounded; an archive that finds no room in it is read again.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

from pipelines.sources.entry import Stamp

_MOST_BYTES = 4 << 30
_OF_FREE = 4
"""No more than one byte in so many of those that are free."""
_AT_ONCE = 1 << 20
_OPENERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


class Unpacked:
    """Contents of compressed files, by path and stamp.

    Args:
        most_bytes: of all of them together.
    """

    def __init__(self, *, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._file: IO[bytes] | None = None
        self._kept: dict[tuple[str, Stamp], range] = {}
        self._end = 0

    @contextlib.contextmanager
    def keeping(self, path: str, stamp: Stamp | None, file: IO[bytes]) -> Iterator[IO[bytes]]:
        """Yield what a compressed file holds; what is read to the end without an error is kept.

        Args:
            path, stamp: where it lies, and how it was when it was listed.
            file: the file, at its beginning.

        Raises:
            ValueError: the file is not compressed in a way that is known here.
        """
        start = file.read(max(map(len, _OPENERS)))
        file.seek(0)
        opener = next((o for magic, o in _OPENERS.items() if start.startswith(magic)), None)
        if opener is None:
            raise ValueError("not compressed")
        room = 0 if stamp is None else self._room()
        with contextlib.closing(opener(file)) as source:
            copy = _Copying(source, self._spool() if room else None, at=self._end, room=room)
            yield cast(IO[bytes], copy)
        if stamp is not None and copy.is_whole:
            self._kept[path, stamp] = range(self._end, self._end + copy.size)
            self._end += copy.size

    def opened(self, path: str, stamp: Stamp | None) -> IO[bytes] | None:
        """Return what was kept of a file that still has this stamp in the listing, if anything."""
        where = None if stamp is None else self._kept.get((path, stamp))
        if where is None or self._file is None:
            return None
        return io.BufferedReader(_Stretch(self._file.fileno(), where))

    def forget(self, path: str, stamp: Stamp | None) -> None:
        """Say that a file will not be asked for again."""
        if stamp is not None:
            self._kept.pop((path, stamp), None)
        if not self._kept and self._file is not None:
            self._file.truncate(0)
            self._end = 0

    def _room(self) -> int:
        try:
            free = shutil.disk_usage(tempfile.gettempdir()).free
        except OSError:
            return 0
        return max(0, min(self._most_bytes - self._end, free // _OF_FREE))

    def _spool(self) -> int | None:
        if self._file is None:
            try:
                self._file = tempfile.TemporaryFile(prefix="dvse-unpacked-")  # noqa: SIM115
            except OSError:
                return None
            weakref.finalize(self, self._file.close)
        return self._file.fileno()


class _Copying(io.RawIOBase):
    """Reads a decompressor, mostly forwards, and copies what it gives to a place in a file."""

    def __init__(self, source: IO[bytes], target: int | None, *, at: int, room: int) -> None:
        self._source, self._target, self._at, self._room = source, target, at, room
        self._position = self.size = 0
        self._has_ended = False

    @property
    def is_whole(self) -> bool:
        """Whether all of it was read and copied."""
        return self._target is not None and self._has_ended

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._has_ended |= not data and size != 0
        if self._position == self.size and self._target is not None:
            self._copy(data)
        elif self._position + len(data) > self.size:
            self._target = None  # a part of it was passed over
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET:
            raise io.UnsupportedOperation("only from the beginning")
        if offset < self._position:
            self._position = self._source.seek(offset)
        while self._position < offset and self.read(min(offset - self._position, _AT_ONCE)):
            pass
        return self._position

    def _copy(self, data: bytes) -> None:
        assert self._target is not None
        self.size += len(data)
        try:
            if self.size > self._room:
                raise OSError("no room")
            start = self._at + self.size - len(data)
            while data:
                written = os.pwrite(self._target, data, start)
                data, start = data[written:], start + written
        except OSError:
            self._target = None


class _Stretch(io.RawIOBase):
    """A stretch of a file, for which no position of its own is needed."""

    def __init__(self, file: int, where: range) -> None:
        self._file, self._where, self._position = file, where, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._where)}
        self._position = max(0, start[whence] + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        left = max(0, len(self._where) - self._position)
        data = os.pread(self._file, min(len(buffer), left), self._where.start + self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


UNPACKED = Unpacked()
"""Of this process: who lists and who reads are different objects."""
