"""Writing a file so that it is there whole or not at all, even when the power fails.

The bytes go to a temporary name in the same directory, are flushed to the disk, and take their
name by a rename; then the directory is flushed, so that the rename itself survives. Temporary names
are each writer's own, so that two may write the same file: the later one stays. In a store an
object is whole or not there by nature.
"""

import contextlib
import os
import secrets
from pathlib import Path

from dvse.remote import object_store
from dvse.remote.remote_path import Location, RemotePath

TEMPORARY_PREFIX = ".tmp-"


def write_atomically(path: Location, data: bytes | memoryview) -> None:
    """Write `data` to `path`, replacing what was there, in one step.

    Raises:
        OSError: the disk is full, or the directory cannot be written; nothing is left behind and
            the old file is untouched.
    """
    if isinstance(path, RemotePath):
        path.write_bytes(data)
        return
    temporary = temporary_name(path)
    try:
        _write_durably(temporary, data)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def create_atomically(path: Location, data: bytes) -> bool:
    """Write `data` to `path` unless something is there; return whether it holds `data` now.

    Of several that try at the same time, on one machine or on several, one succeeds: by a hard link
    in a directory, by a conditional put in a store.

    Raises:
        OSError: the disk is full, or the directory cannot be written.
    """
    if isinstance(path, RemotePath):
        return object_store.create(path.address, data)
    temporary = temporary_name(path)
    try:
        _write_durably(temporary, data)
        os.link(temporary, path)
    except FileExistsError:
        return path.read_bytes() == data
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


def temporary_name(path: Path) -> Path:
    """Return a name beside `path` that no other writer has.

    >>> temporary_name(Path("a/b.json")).name.startswith(".tmp-b.json-")
    True
    """
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{secrets.token_hex(4)}")


def sync_directory(folder: Path) -> None:
    """Flush the names in `folder` to the disk, where the system can do that."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_temporary_files(folder: Path) -> None:
    """Delete what killed writers have left in `folder`."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)


def _write_durably(path: Path, data: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
