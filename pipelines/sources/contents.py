"""What a container holds, as far as it has to be known before any of it is tokenised."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from dvse.remote.address import is_address
from pipelines.sources.entry import Stamp
from pipelines.sources.record import Record

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a container holds.

    Attributes:
        num_inputs: `None` where only reading to the end tells.
        num_hidden: members that are left out: resource forks of macOS, hidden files.
        unused: fields of its lines that are not known and change nothing.
        media_sha256: hash (hex) of the sizes and times of the files of this machine that its lines
            name, `None` where they name none.
    """

    num_inputs: int | None
    num_hidden: int = 0
    unused: frozenset[str] = frozenset()
    media_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What of all that was found is not used, and is no error.

    Attributes:
        num_hidden: hidden files, folders and members, resource forks of macOS.
        unused_fields: of lines of manifests, in order.
    """

    num_hidden: int = 0
    unused_fields: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` made of one."""
        unused = tuple(found.get("unused_fields", ()))
        return cls(num_hidden=found.get("num_hidden", 0), unused_fields=unused)

    def lines(self) -> list[str]:
        """Return it as lines for people.

        >>> LeftOut(num_hidden=2, unused_fields=("speaker",)).lines()
        ['2 hidden files or folders left out', 'fields of manifests that are not used: speaker']
        """
        shown = ", ".join(self.unused_fields[:_SHOWN])
        more = len(self.unused_fields) - _SHOWN
        return [
            *([f"{self.num_hidden:,} hidden files or folders left out"] * (self.num_hidden > 0)),
            *([f"fields of manifests that are not used: {shown}"] * bool(shown)),
            *([f"and {more} more"] * (more > 0)),
        ]


def contents_of(records: Iterable[Record], *, beside: Iterable[str] = ()) -> Contents:
    """Count the records of a manifest, and look at the files that they name.

    Args:
        records: all of them.
        beside: further files that say what they are.
    """
    stamps, unused, count = _Stamps(), set[str](), 0
    for file in beside:
        stamps.add_file(file)
    for record in records:
        count += 1
        unused.update(record.unused)
        stamps.add(record)
    return Contents(num_inputs=count, unused=frozenset(unused), media_sha256=stamps.hexdigest())


def media_sha256(records: Iterable[Record], count: int) -> str | None:
    """Return the hash of the sizes and times of the files that the first records name."""
    stamps = _Stamps()
    for record in islice(records, count):
        stamps.add(record)
    return stamps.hexdigest()


def are_there(records: Iterable[Record]) -> bool:
    """Whether all files that records name are there."""
    return all(
        is_address(file) or Stamp.of(file) is not None
        for record in records
        for ref in record.refs
        for file in ref.place.files
    )


class _Stamps:
    """A hash over files as they come."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._is_any = False

    def add(self, record: Record) -> None:
        for ref in record.refs:
            for file in ref.place.files:
                self.add_file(file)

    def add_file(self, file: str) -> None:
        if is_address(file):
            return  # a question to the store for each would take longer than reading many of them
        self._is_any = True
        stamp = Stamp.of(file)
        shown = f"{file}\0{stamp and (stamp.size, stamp.mtime_ns)}\0"
        self._digest.update(shown.encode("utf-8", "surrogatepass"))

    def hexdigest(self) -> str | None:
        return self._digest.hexdigest() if self._is_any else None
