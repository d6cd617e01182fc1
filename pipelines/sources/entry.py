"""One line of a listing: a file that is an input, or a container that holds many.

A listing is what a job remembers of its inputs. It is cheap to make (names, sizes, times; no
media is opened), small on disk, and two of them can be compared.
"""

# ruff: noqa: PTH116
# Paths stay strings: they come by the million, and os.path is several times faster.

import json
import os
from dataclasses import dataclass

from pipelines.sources.record import Failure


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size and time of last change, by which a changed file is noticed without reading it."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str) -> "Stamp | None":
        """Return the stamp of a file, `None` where it cannot be looked at."""
        try:
            info = os.stat(path)
        except (OSError, ValueError):
            return None
        return cls(info.st_size, info.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, a group of files, or a container.

    Attributes:
        kind: key of the source that reads it, see `pipelines.sources.registry`.
        path: absolute path, or the address of a data set.
        name: what ids of its inputs begin with: the path as the user sees it.
        count: inputs in it; `None` where only reading to the end tells.
        stamp: size and time of the file.
        caption: file beside it whose text travels along.
        caption_stamp: size and time of that.
        members: the files of a group.
        failure: why it cannot be read.
    """

    kind: str
    path: str
    name: str
    count: int | None = 1
    stamp: Stamp | None = None
    caption: str | None = None
    caption_stamp: Stamp | None = None
    members: tuple[str, ...] = ()
    failure: Failure | None = None

    def to_json(self) -> str:
        """Return one line of JSON; names that are no UTF-8 survive as escapes."""
        fields: list[object] = [self.kind, self.path, self.name, self.count, _pair(self.stamp)]
        if self.caption or self.members or self.failure:
            why = self.failure and [self.failure.stage, self.failure.type, self.failure.reason]
            fields += [self.caption, _pair(self.caption_stamp), list(self.members), why]
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Entry":
        """Read what `to_json` wrote.

        >>> entry = Entry(kind="image", path="/a/b.png", name="b.png", stamp=Stamp(3, 4))
        >>> Entry.from_json(entry.to_json()) == entry
        True
        """
        kind, path, name, count, stamp, *rest = json.loads(line)
        caption, caption_stamp, members, why = rest or (None, None, (), None)
        return cls(
            kind=kind,
            path=path,
            name=name,
            count=count,
            stamp=Stamp(*stamp) if stamp else None,
            caption=caption,
            caption_stamp=Stamp(*caption_stamp) if caption_stamp else None,
            members=tuple(members),
            failure=Failure(stage=why[0], type=why[1], reason=why[2]) if why else None,
        )


def _pair(stamp: Stamp | None) -> list[int] | None:
    return None if stamp is None else [stamp.size, stamp.mtime_ns]
