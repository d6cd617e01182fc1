"""An object as a file that is read by ranges: a Parquet footer or a tar header is one request.

Ranges grow while reading goes straight on and start small again after a jump. Each is asked for on
its own, so a connection that breaks costs one of them.
"""

import io

from dvse.errors import StorageError
from dvse.remote import object_store

_FIRST, _LARGEST = 1 << 18, 1 << 23


def open_ranges(address: str, size: int | None = None) -> io.BufferedReader:
    """Open an object for reading.

    Args:
        address: of the object.
        size: in bytes, where it is known already.

    Raises:
        MissingFileError: it is not there.
        UnreadableFileError: no permission.
        StorageError: no bucket, no credentials, or the store cannot be reached.
    """
    known = object_store.stat(address).size if size is None else size
    return io.BufferedReader(_RangeFile(address, known), buffer_size=1 << 16)


class _RangeFile(io.RawIOBase):
    def __init__(self, address: str, size: int) -> None:
        self._address, self._size = address, size
        self._position = 0
        self._start, self._data = 0, b""
        self._next = _FIRST

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # any writable buffer
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._position)
        if wanted <= 0:
            return 0
        if not self._start <= self._position < self._start + len(self._data):
            self._fetch(wanted)
        at = self._position - self._start
        piece = self._data[at : at + wanted]
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _fetch(self, wanted: int) -> None:
        is_next = self._data and self._position == self._start + len(self._data)
        self._next = min(self._next * 4, _LARGEST) if is_next else _FIRST
        stop = min(self._position + max(wanted, self._next), self._size)
        data = object_store.read(self._address, self._position, stop)
        if len(data) < stop - self._position:
            raise StorageError(
                f"{self._address}: expected {stop - self._position} bytes at {self._position}, "
                f"received {len(data)}; it has become shorter, run the same command again"
            )
        self._start, self._data = self._position, data
