"""One line of a listing: a file that is an input, or a container that holds many.

A listing is what a job remembers of its inputs. It is cheap to make (names, sizes, times; no
media is opened), small on disk, and two of them can be compared.
"""

# ruff: noqa: PTH116
# Paths stay strings: they come by the million, and os.path is several times faster.

import json
import os
from json.encoder import encode_basestring_ascii as _quoted
from typing import NamedTuple

from dvse.remote import object_store
from dvse.remote.address import is_address
from dvse.remote.object_store import Found
from dvse.remote.patience import PATIENCE, is_passing
from pipelines.sources.record import Failure

# Entries that are no inputs but numbers that none has (any longer): of an input that went away,
# and what fills up the last partition before inputs that were added later.
HOLE, BOUNDARY = "hole", "boundary"
GAPS = frozenset((HOLE, BOUNDARY))
# Entries that are one input each.
SINGLES = frozenset(("image", "audio", "text", "group"))
# Entries that are one failed input: something that is none, and a whole data set that would not
# open, of which nobody knows how much it holds.
FAILURE, UNOPENED = "failure", "unopened"
FAILURES = frozenset((FAILURE, UNOPENED))


class Stamp(NamedTuple):
    """Size and time of last change, by which a changed file is noticed without reading it.

    Of an object in a store the ETag stands in place of the time.
    """

    size: int
    mtime_ns: int
    version: str = ""

    @classmethod
    def of_object(cls, found: Found) -> "Stamp":
        """Return the stamp of an object in a store: its size and version."""
        return cls(found.size, 0, found.version)

    @classmethod
    def of(cls, path: str) -> "Stamp | None":
        """Return the stamp of a file or object, `None` where it cannot be looked at."""
        try:
            if is_address(path):
                return cls.of_object(object_store.stat(path))
            info = _stat(path)
        except (OSError, ValueError):
            return None
        return cls(info.st_size, info.st_mtime_ns)


class Entry(NamedTuple):
    """A file, a group of files, or a container; a tuple, for it is made by the million.

    Attributes:
        kind: key of the source that reads it, see `pipelines.sources.registry`.
        path: absolute path, or the address of a file or a data set.
        name: what ids of its inputs begin with: the path as the user sees it.
        count: inputs in it; `None` where only reading to the end tells.
        stamp: size and time of the file.
        caption: file beside it whose text travels along.
        caption_stamp: size and time of that.
        members: the files of a group.
        failure: why it cannot be read.
        first: inputs at its beginning that belong to an earlier entry: a container that grew.
        sha256: hash (hex) of a manifest, by which growth is told from change.
        media_sha256: hash (hex) of the sizes and times of the files that a manifest names.
        label: class of the file, by the folder that it lies in.
    """

    kind: str
    path: str
    name: str
    count: int | None = 1  # type: ignore[assignment]  # a tuple has a method of that name
    stamp: Stamp | None = None
    caption: str | None = None
    caption_stamp: Stamp | None = None
    members: tuple[str, ...] = ()
    failure: Failure | None = None
    first: int = 0
    sha256: str | None = None
    media_sha256: str | None = None
    label: str | None = None

    def to_json(self) -> str:
        """Return one line of JSON; names that are no UTF-8 survive as escapes."""
        kind, path, name, count, stamp, *rest = self
        label = self.label
        if rest[:-1] == _PLAIN and count is not None and stamp and not stamp.version:
            # By the million, and four times as fast as the same by `json.dumps`.
            head = f"{_quoted(kind)},{_quoted(path)},{_quoted(name)}"
            more = f",null,null,[],null,0,null,null,{_quoted(label)}" if label else ""
            return f"[{head},{count},[{stamp.size},{stamp.mtime_ns}]{more}]"
        is_container = self.first or self.sha256 or self.media_sha256
        is_more = self.caption or self.members or self.failure or is_container
        fields: list[object] = [kind, path, name, count, _pair(stamp)]
        if is_more or label:
            why = self.failure and [self.failure.stage, self.failure.type, self.failure.reason]
            fields += [self.caption, _pair(self.caption_stamp), list(self.members), why]
        if is_container or label:
            fields += [self.first, self.sha256]
        if self.media_sha256 or label:
            fields += [self.media_sha256, label]
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Entry":
        """Read what `to_json` wrote.

        >>> entry = Entry(kind="image", path="/a/b.png", name="b.png", stamp=Stamp(3, 4))
        >>> Entry.from_json(entry.to_json()) == entry
        True
        """
        kind, path, name, count, stamp, *rest = json.loads(line)
        caption, caption_stamp, members, why = rest[:4] or (None, None, (), None)
        first, sha256 = rest[4:6] or (0, None)
        media_sha256, label = rest[6:] or (None, None)
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
            first=first,
            sha256=sha256,
            media_sha256=media_sha256,
            label=label,
        )


_PLAIN = [None, None, (), None, 0, None, None]
"""What stands between stamp and label of a file that is an input by itself."""


def _pair(stamp: Stamp | None) -> list[object] | None:
    if stamp is None:
        return None
    version = [stamp.version] if stamp.version else []
    return [stamp.size, stamp.mtime_ns, *version]


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        if not is_passing(error):
            raise
        return PATIENCE.call(lambda: os.stat(path))
