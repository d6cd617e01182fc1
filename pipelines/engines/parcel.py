"""Pieces on their way from one process to another in memory that has no name.

The sender writes them once, the receiver reads them; whoever passes a parcel on handles one open
file. When the last process that holds it closes it or dies, however that happens, its memory is
free: nothing is left behind in `/dev/shm`.
"""

import os
import pickle
import tempfile
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

_BUFFER_BYTES = 1 << 20


class Parcel:
    """Something pickled that waits in memory.

    Attributes:
        num_bytes: its size.

    >>> Parcel.pack([1, 2, 3]).content()
    [1, 2, 3]
    """

    def __init__(self, handle: int, num_bytes: int) -> None:
        self._handle = handle
        self.num_bytes = num_bytes

    @classmethod
    def pack(cls, content: Any) -> "Parcel":
        """Write a picklable object down.

        Raises:
            OSError: there is no memory left.
        """
        handle = _anonymous_file()
        try:
            with open(handle, "wb", _BUFFER_BYTES, closefd=False) as file:
                pickle.dump(content, file, pickle.HIGHEST_PROTOCOL)
                num_bytes = file.tell()
        except BaseException:
            os.close(handle)
            raise
        return cls(handle, num_bytes)

    @classmethod
    def receive(cls, connection: Connection, num_bytes: int) -> "Parcel":
        """Take one from a pipe, whose size was told.

        Raises:
            EOFError, OSError: the other side is gone.
        """
        return cls(recv_handle(connection), num_bytes)

    def send(self, connection: Connection) -> None:
        """Put it into a pipe; here it is closed.

        Raises:
            OSError: the other side is gone.
        """
        try:
            send_handle(connection, self._handle, 0)
        finally:
            self.close()

    def read(self) -> bytes:
        """Return what is in it, still pickled, and close it."""
        try:
            with open(self._handle, "rb", 0, closefd=False) as file:
                file.seek(0)
                return file.readall()
        finally:
            self.close()

    def content(self) -> Any:
        """Return the object, and close the parcel."""
        return pickle.loads(self.read())

    def close(self) -> None:
        """Let it go."""
        os.close(self._handle)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("dvse", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
