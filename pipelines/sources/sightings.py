"""What a lister saw, so that the next one of the same job need not look as closely.

A line of JSON each, in the order in which they were seen, and the listing's hash at the end:

    ["folder", path, mtime_ns, inode, device]     while these are the same, so are the names in it
    ["container", path, kind, stamp, num_inputs, num_hidden]    while its stamp is the same, so is
                                                  what was counted
    ["file", path, stamp]                         that was named by itself
    ["listing", sha256]                           what came of all this; without it nothing counts

A folder's time says nothing about the bytes in its files: one that is written over in place keeps
its name. So containers are always asked for their stamps, and files are unless somebody says that
folders are to be trusted (`are_unchanged`).
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.sources.contents import Contents
from pipelines.sources.entry import Entry, Stamp

_TICK_NS = 2_000_000_000
"""Clocks of file systems are this coarse at most. A folder that changed so shortly before it was
looked at may have changed once more without showing it (git calls this racily clean)."""
_AHEAD = 10_000
"""Containers that are looked through, at most, for one that does not come next."""
_STAMP = {"container": 3, "file": 2}
"""Where in a line the stamp stands."""


class Sightings:
    """Remembers what is seen and knows what was seen before.

    Args:
        path: where to write; `None` for nowhere.
        before: what an earlier lister wrote, if any.
    """

    def __init__(self, path: Path | None = None, before: Path | None = None) -> None:
        self._file = None if path is None else path.open("w", encoding="ascii")
        self._before = _containers(before)
        self._ahead: dict[str, list[Any]] = {}
        self._is_whole = True

    def folder(self, path: str, info: os.stat_result | None) -> None:
        """Take note of a folder, as it was before its names were read, `None` of a store."""
        if info is None or info.st_mtime_ns > time.time_ns() - _TICK_NS:
            self._is_whole = False
        else:
            self._write(["folder", path, info.st_mtime_ns, info.st_ino, info.st_dev])

    def file(self, path: str, stamp: Stamp | None) -> None:
        """Take note of a file that was named by itself, or might have been there."""
        self._write(["file", path, stamp])

    def container(self, entry: Entry, contents: Contents) -> None:
        """Take note of what was counted."""
        if entry.stamp is None or entry.sha256 is not None or contents.media_sha256 is not None:
            # A manifest, whose bytes and files are looked at each time.
            self.file(entry.path, entry.stamp)
        else:
            counts = [contents.num_inputs, contents.num_hidden]
            self._write(["container", entry.path, entry.kind, entry.stamp, *counts])

    def of_container(self, entry: Entry) -> Contents | None:
        """Return what was counted in a container before, `None` where it may be another one now."""
        while entry.path not in self._ahead and len(self._ahead) < _AHEAD:
            if (line := next(self._before, None)) is None:
                break
            self._ahead[line[1]] = line
        found = self._ahead.pop(entry.path, None)
        if found is None or entry.stamp is None or found[2:4] != [entry.kind, list(entry.stamp)]:
            return None
        return Contents(num_inputs=found[4], num_hidden=found[5])

    def unstamped(self) -> None:
        """Take note of something whose change nothing would show: a pattern, a data set."""
        self._is_whole = False

    def finish(self, listing_sha256: str) -> None:
        """Write down what came of it, which counts where everything had a stamp."""
        self._write(["listing", listing_sha256 if self._is_whole else ""])

    def close(self) -> None:
        """Take note of nothing more."""
        if self._file is not None:
            self._file.close()

    def _write(self, line: list[Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")


def are_unchanged(seen: Path, listing_sha256: str) -> bool:
    """Whether the same listing would come of the same inputs, going by folders and containers.

    Files in folders are not looked at: one that was written over in place is not noticed.

    Args:
        seen: what the lister wrote.
        listing_sha256: hash of its listing.
    """
    last = None
    for line in _lines(seen):
        last = line
        if line[0] == "folder":
            try:
                info = os.stat(line[1])  # noqa: PTH116 (paths stay strings)
            except OSError:
                return False
            if [info.st_mtime_ns, info.st_ino, info.st_dev] != line[2:]:
                return False
        elif line[0] != "listing" and _stamp(line[1]) != line[_STAMP[line[0]]]:
            return False
    return last == ["listing", listing_sha256]


def _stamp(path: str) -> list[Any] | None:
    stamp = Stamp.of(path)
    return None if stamp is None else list(stamp)


def _containers(seen: Path | None) -> Iterator[list[Any]]:
    return (line for line in _lines(seen) if line[0] == "container")


def _lines(seen: Path | None) -> Iterator[list[Any]]:
    """The lines of a file that a killed lister may have left unfinished, or that is not there."""
    if seen is None:
        return
    try:
        with seen.open(encoding="ascii") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError):
        return
