"""A place in a store that code can use as it uses a `Path`: the part of its face that jobs need.

Where a function takes a `Location`, a local `Path` goes its own way to the disk, as ever.
"""

import fnmatch
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from dvse.errors import ConfigError, MissingFileError
from dvse.remote import object_store
from dvse.remote.address import (
    WRITABLE,
    check_address,
    is_address,
    join,
    name_of,
    parent_of,
    scheme_of,
)
from dvse.remote.object_store import Found
from dvse.remote.range_file import open_ranges


@dataclass(frozen=True, slots=True, order=True)
class RemotePath:
    """An object or a folder in a store.

    Attributes:
        address: where it lies.
        found: what a listing said of it; it spares a question.

    >>> path = RemotePath("memory://bucket/tokens") / "shard-000000.parquet"
    >>> str(path), path.name, path.suffix
    ('memory://bucket/tokens/shard-000000.parquet', 'shard-000000.parquet', '.parquet')
    """

    address: str
    found: Found | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(join(self.address, name))

    @property
    def name(self) -> str:
        """The last part."""
        return name_of(self.address)

    @property
    def stem(self) -> str:
        """The last part without its ending."""
        return os.path.splitext(self.name)[0]  # noqa: PTH122 (a name in a store)

    @property
    def suffix(self) -> str:
        """The ending of the last part."""
        return os.path.splitext(self.name)[1]  # noqa: PTH122 (a name in a store)

    @property
    def parent(self) -> "RemotePath":
        """The folder."""
        return RemotePath(parent_of(self.address))

    def with_name(self, name: str) -> "RemotePath":
        """Return the place of this name in the same folder."""
        return self.parent / name

    def info(self) -> Found:
        """Return size and version.

        Raises:
            MissingFileError: it is not there.
            UnreadableFileError: no permission.
            StorageError: no bucket, no credentials, or the store cannot be reached.
        """
        return self.found or object_store.stat(self.address)

    def exists(self) -> bool:
        """Whether an object or a folder is there."""
        try:
            object_store.stat(self.address)
        except MissingFileError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether it holds objects."""
        try:
            return object_store.stat(self.address).is_folder
        except MissingFileError:
            return False

    def is_file(self) -> bool:
        """Whether it is an object."""
        try:
            return not object_store.stat(self.address).is_folder
        except MissingFileError:
            return False

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open it for reading by ranges."""
        assert mode == "rb", "an object is written whole"
        return open_ranges(self.address, self.found.size if self.found else None)

    def read_bytes(self) -> bytes:
        """Return the bytes."""
        return object_store.read(self.address)

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the text."""
        return self.read_bytes().decode(encoding)

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: folders of a store come with what lies in them."""

    def write_bytes(self, data: bytes | memoryview) -> None:
        """Write it whole."""
        object_store.write(self.address, data)

    def unlink(self, missing_ok: bool = True) -> None:
        """Delete it; a store does not tell whether it was there."""
        object_store.delete(self.address)

    def iterdir(self) -> Iterator["RemotePath"]:
        """Yield what lies directly in it, sorted."""
        for found in object_store.children(self.address):
            yield RemotePath(found.address, found)

    def rglob(self, pattern: str) -> Iterator["RemotePath"]:
        """Yield all objects below it that have a name like `pattern`, sorted by address."""
        for found in object_store.tree(self.address):
            path = RemotePath(found.address, found)
            if fnmatch.fnmatchcase(path.name, pattern):
                yield path

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """Yield what lies directly in it and has a name like `pattern`, sorted."""
        for path in self.iterdir():
            if fnmatch.fnmatchcase(path.name, pattern):
                yield path


Location: TypeAlias = Path | RemotePath


def num_bytes(place: Location) -> int:
    """Return the size of a file or object.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    return place.info().size if isinstance(place, RemotePath) else place.stat().st_size


def location(place: str | os.PathLike[str] | RemotePath) -> Location:
    """Return the place of a path or an address.

    Raises:
        ConfigError: an address of an unknown scheme, or with a secret in it.

    >>> location("s3://bucket/tokens/"), location("tokens")
    (RemotePath(address='s3://bucket/tokens'), PosixPath('tokens'))
    """
    if isinstance(place, RemotePath):
        return place
    text = os.fspath(place)
    return RemotePath(check_address(text)) if is_address(text) else Path(text)


def writable_location(place: str | os.PathLike[str]) -> Location:
    """Return the place of a path or an address that something is to be written to.

    Raises:
        ConfigError: an address that cannot be written to, or none of those that are known.
    """
    found = location(place)
    if isinstance(found, RemotePath) and scheme_of(found.address) not in WRITABLE:
        ways = ", ".join(f"{scheme}://" for scheme in WRITABLE if scheme != "memory")
        raise ConfigError(
            f"{found}: it can be read but not written to; give a path, or an address that begins "
            f"with {ways}"
        )
    return found
