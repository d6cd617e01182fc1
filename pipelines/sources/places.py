"""Where the bytes of an item lie when they lie in a file: on this machine, or in a store."""

import os
import shutil
import tempfile
from dataclasses import dataclass

from dvse.errors import DecodeError, UnreadableFileError
from dvse.remote import object_store
from dvse.remote.address import is_address
from dvse.remote.range_file import open_ranges
from pipelines.sources.record import FilePlace, Place, SlicePlace


def file_place(path: str) -> FilePlace:
    """Return the place of a whole file, given its path or address.

    >>> type(file_place("a.png")).__name__, type(file_place("s3://b/a.png")).__name__
    ('FilePlace', 'RemotePlace')
    """
    return RemotePlace(path) if is_address(path) else FilePlace(path)


def slice_place(path: str, offset: int, num_bytes: int, member: str = "") -> Place:
    """Return the place of a range of a file, given its path or address."""
    kind = RemoteSlice if is_address(path) else SlicePlace
    return kind(path, offset, num_bytes, member=member)


@dataclass(frozen=True, slots=True)
class RemotePlace(FilePlace):
    """A whole object."""

    def size(self) -> int:
        """Return the size in bytes.

        Raises:
            InputError: it is missing, forbidden, or a folder.
            StorageError: the store does not answer.
        """
        found = object_store.stat(self.file)
        if found.is_folder:
            raise UnreadableFileError(f"{self.file}: expected an object, received a folder")
        return found.size

    def read(self) -> bytes:
        """Read the object."""
        return object_store.read(self.file)

    def on_disk(self) -> str:
        """Copy the object to a temporary file and return its path; the caller deletes it."""
        handle, path = tempfile.mkstemp(prefix="dvse-", suffix=os.path.splitext(self.file)[1])  # noqa: PTH122 (an address)
        with os.fdopen(handle, "wb") as file, open_ranges(self.file) as source:
            shutil.copyfileobj(source, file, 1 << 20)
        return path


@dataclass(frozen=True, slots=True)
class RemoteSlice(SlicePlace):
    """A range of an object: a member of an uncompressed tar."""

    def read(self) -> bytes:
        """Read the range."""
        data = object_store.read(self.file, self.offset, self.offset + self.num_bytes)
        if len(data) < self.num_bytes:
            raise DecodeError(
                f"{self.file}: expected {self.num_bytes} bytes at {self.offset}, received "
                f"{len(data)}; the archive is cut short"
            )
        return data
