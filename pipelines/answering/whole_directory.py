"""A directory that is written whole: beside its place first, then in place of what lay there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from dvse.storage.atomic_file import TEMPORARY_PREFIX, sync_directory


def write_whole(directory: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a new directory, make it durable, give it the name, and return it.

    A kill leaves the old directory or the new one.
    """
    draft = directory.with_name(f"{TEMPORARY_PREFIX}{directory.name}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        write(draft)
        _flush(draft)
        _swap(draft, directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return directory


def _flush(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_directory(folder)


def _swap(draft: Path, directory: Path) -> None:
    old = directory.with_name(f"{TEMPORARY_PREFIX}old-{directory.name}")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    draft.rename(directory)
    sync_directory(directory.parent)
    shutil.rmtree(old, ignore_errors=True)
