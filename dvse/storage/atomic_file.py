"""Writing a file so that it is there whole or not at all, even when the power fails.

The bytes go to a temporary name in the same directory, are flushed to the disk, and take their
name by a rename; then the directory is flushed, so that the rename itself survives.
"""

import contextlib
import os
from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path`, replacing what was there, in one step.

    Raises:
        OSError: the disk is full, or the directory cannot be written; nothing is left behind and
            the old file is untouched.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


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
