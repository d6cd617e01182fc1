"""Files and folders as a lister sees them: on this machine, or in a store.

A store tells size and version of every object with its name, so what was listed is not asked for
again while its folder is being looked at.
"""

# ruff: noqa: PTH100, PTH113, PTH116, PTH207
# Paths stay strings: they come by the million, and os.path is several times faster.

import glob
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass

from dvse.errors import InputError, MissingFileError, StorageError
from dvse.remote import object_store
from dvse.remote.address import name_of, parent_of
from dvse.remote.object_store import Found
from dvse.remote.patience import PATIENCE
from pipelines.sources.entry import Stamp
from pipelines.sources.folder_names import FolderNames
from pipelines.sources.record import utf8_name


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What lies in a folder.

    Attributes:
        identity: the same whatever way leads to it.
        names: of what lies in it.
        info: of a folder on a disk, from before its names were read.
        twins: addresses of what no path can name in a store, and why.
    """

    identity: Hashable
    names: FolderNames
    info: os.stat_result | None = None
    twins: tuple[tuple[str, InputError], ...] = ()


class Tree(ABC):
    """Folders and files by their paths."""

    @abstractmethod
    def absolute(self, path: str) -> str:
        """Return the path that a listing holds."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether a file or folder is there; a link that leads nowhere is."""

    @abstractmethod
    def is_folder(self, path: str) -> bool:
        """Whether it is a folder."""

    @abstractmethod
    def is_file(self, path: str) -> bool:
        """Whether it is a file."""

    @abstractmethod
    def identity(self, path: str) -> Hashable:
        """Return what tells a folder from others, `None` where it is not there."""

    @abstractmethod
    def folder(self, path: str) -> Folder:
        """Look into a folder.

        Raises:
            OSError: it cannot be looked into.
        """

    @abstractmethod
    def stamp(self, path: str) -> Stamp | None:
        """Return the stamp of a file, `None` where it cannot be looked at."""

    @abstractmethod
    def matches(self, pattern: str) -> list[str] | None:
        """Return what matches a pattern, sorted; `None` where it is none, or names a file."""


class LocalTree(Tree):
    """The disk."""

    def absolute(self, path: str) -> str:
        """Count from the working directory."""
        return os.path.abspath(path)

    def exists(self, path: str) -> bool:
        """Look at the name."""
        return os.path.lexists(path)

    def is_folder(self, path: str) -> bool:
        """Follow links."""
        try:
            return stat.S_ISDIR(PATIENCE.call(lambda: os.stat(path)).st_mode)
        except (OSError, ValueError):
            return False

    def is_file(self, path: str) -> bool:
        """Follow links."""
        return os.path.isfile(path)

    def identity(self, path: str) -> Hashable:
        """Return device and inode."""
        try:
            info = os.stat(path)
        except OSError:
            return None
        return info.st_dev, info.st_ino

    def folder(self, path: str) -> Folder:
        """Scan it; whether a child is a folder comes with its name."""

        def scan() -> Folder:
            with os.scandir(path) as found:
                info = os.stat(path)
                children = ((child.name, child.is_dir()) for child in found)
                names = FolderNames(children, is_there=lambda n: os.path.lexists(f"{path}/{n}"))
            return Folder(identity=(info.st_dev, info.st_ino), names=names, info=info)

        return PATIENCE.call(scan)

    def stamp(self, path: str) -> Stamp | None:
        """Return size and time."""
        try:
            info = os.stat(path)
        except (OSError, ValueError):
            return Stamp.of(path)  # which asks again where the fault may pass
        return Stamp(info.st_size, info.st_mtime_ns)

    def matches(self, pattern: str) -> list[str] | None:
        """Match names, hidden ones too."""
        if os.path.lexists(pattern) or not glob.has_magic(pattern):
            return None
        return sorted(glob.iglob(pattern, recursive=True, include_hidden=True), key=os.fsencode)


class RemoteTree(Tree):
    """What lies behind addresses."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, Found]] = {}

    def absolute(self, path: str) -> str:
        """Return the address."""
        return path

    def exists(self, path: str) -> bool:
        """Ask."""
        return self._found(path) is not None

    def is_folder(self, path: str) -> bool:
        """Ask."""
        found = self._found(path)
        return found is not None and found.is_folder

    def is_file(self, path: str) -> bool:
        """Ask."""
        found = self._found(path)
        return found is not None and not found.is_folder

    def identity(self, path: str) -> Hashable:
        """Return the address."""
        return path

    def folder(self, path: str) -> Folder:
        """List it; what else is said of its objects is kept while they are looked at."""
        found_here, twins = object_store.children_and_twins(path)
        listed = {name_of(found.address): found for found in found_here}
        # Of the folders that this one lies in what was listed stays, and of no others.
        self._listed = {f: known for f, known in self._listed.items() if path.startswith(f + "/")}
        self._listed[path] = listed
        children = ((name, found.is_folder) for name, found in listed.items())
        names = FolderNames(children, is_there=listed.__contains__)
        return Folder(identity=path, names=names, twins=tuple(map(_without_a_path, twins)))

    def stamp(self, path: str) -> Stamp | None:
        """Return size and version."""
        try:
            found = self._found(path)
        except StorageError:
            raise
        except OSError:
            return None
        return None if found is None or found.is_folder else Stamp.of_object(found)

    def matches(self, pattern: str) -> list[str] | None:
        """Match addresses; on the web a `?` is none of a pattern's."""
        if pattern.startswith("http") or not glob.has_magic(pattern) or self.exists(pattern):
            return None
        return object_store.glob(pattern)

    def _found(self, path: str) -> Found | None:
        known = self._listed.get(parent_of(path))
        if known is not None:
            return known.get(name_of(path))
        try:
            return object_store.stat(path)
        except MissingFileError:
            return None


def _without_a_path(one: Found) -> tuple[str, InputError]:
    """The address of an object or a folder whose name would be lost in a path, and what to do."""
    name, way = utf8_name(one.address), "other names, or name them as inputs one by one"
    if one.is_folder:
        return f"{one.address}//", InputError(
            f"{name}: it holds a folder without a name ({name}//); give the objects in it {way}"
        )
    return one.address, InputError(
        f"{name}: an object and a folder have this name; the folder counts here; give them {way}"
    )
