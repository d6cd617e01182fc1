"""Files of an export: hashed while they are written, flushed, and there whole or not at all."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from dvse.storage.atomic_file import TEMPORARY_PREFIX, sync_directory

Buffer: TypeAlias = bytes | memoryview

_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """Bytes of a file that one piece wrote.

    Attributes:
        name: path of the file below the export's directory.
        offset, num_bytes: which bytes of it.
        sha256: of these bytes (hex).
    """

    name: str
    offset: int = 0
    num_bytes: int
    sha256: str

    def is_there(self, folder: Path) -> bool:
        """Whether the file is there and long enough; cheap, without reading it."""
        path = folder / self.name
        return path.is_file() and path.stat().st_size >= self.offset + self.num_bytes

    def is_intact(self, folder: Path) -> bool:
        """Whether the bytes are those that were written."""
        if not self.is_there(folder):
            return False
        digest = hashlib.sha256()
        with (folder / self.name).open("rb") as file:
            file.seek(self.offset)
            left = self.num_bytes
            while left and (data := file.read(min(left, _AT_ONCE))):
                digest.update(data)
                left -= len(data)
        return not left and digest.hexdigest() == self.sha256


class OutputFile:
    """A file written from front to back under a temporary name; renamed once it is whole.

    Args:
        folder: directory of the export.
        name: path below it; its folder is made.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._path = folder / name
        self._temporary = self._path.with_name(f"{TEMPORARY_PREFIX}{self._path.name}")
        self._digest = hashlib.sha256()
        self.num_bytes = 0

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._temporary.open("wb")
        return self

    def write(self, data: Buffer) -> int:
        """Append bytes and return how many."""
        size = memoryview(data).nbytes
        self._digest.update(data)
        self._file.write(data)
        self.num_bytes += size
        return size

    @property
    def part(self) -> FilePart:
        """What was written so far."""
        return FilePart(name=self._name, num_bytes=self.num_bytes, sha256=self._digest.hexdigest())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()
        if kind is None:
            self._temporary.replace(self._path)
            sync_directory(self._path.parent)
        else:
            self._temporary.unlink(missing_ok=True)


class FileRange:
    """A stretch of a file that many pieces share, each in its own place.

    Args:
        folder: directory of the export.
        name: path below it; the file is there already.
        offset: where the stretch begins.
    """

    def __init__(self, folder: Path, name: str, offset: int) -> None:
        self._path, self._name, self._offset = folder / name, name, offset
        self._digest = hashlib.sha256()
        self._num_bytes = 0

    def __enter__(self) -> Self:
        self._file = self._path.open("r+b", buffering=0)
        self._file.seek(self._offset)
        return self

    def write(self, data: Buffer) -> None:
        """Append bytes to the stretch."""
        self._digest.update(data)
        left = memoryview(data).cast("B")
        self._num_bytes += len(left)
        while len(left):
            left = left[self._file.write(left) :]

    @property
    def part(self) -> FilePart:
        """What was written so far."""
        return FilePart(
            name=self._name,
            offset=self._offset,
            num_bytes=self._num_bytes,
            sha256=self._digest.hexdigest(),
        )

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                os.fsync(self._file.fileno())
        finally:
            self._file.close()


def write_whole(folder: Path, name: str, *pieces: Buffer) -> FilePart:
    """Write a file of some pieces and return its part."""
    with OutputFile(folder, name) as file:
        for data in pieces:
            file.write(data)
    return file.part
