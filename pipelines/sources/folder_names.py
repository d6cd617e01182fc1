"""The names in a folder, in the order of their bytes; of very many, sorted runs lie on disk.

A folder of a million files is listed in the memory of one of a hundred thousand.
"""

import heapq
import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Set
from typing import IO

MOST_IN_MEMORY = 100_000
_READ_BYTES = 1 << 16


class FolderNames(Set[str]):
    """The names in a folder, and whether each is a folder itself.

    Args:
        children: names, with whether each is a folder, in any order.
        is_there: asks the folder for a name, where the names are on disk.

    Attributes:
        endings: what files that are not hidden end with, from the last dot on.

    >>> names = FolderNames([("b.png", False), ("a", True)], is_there=lambda name: False)
    >>> list(names.items()), "a" in names, names.endings
    ([('a', True), ('b.png', False)], True, {'.png'})
    """

    def __init__(
        self, children: Iterable[tuple[str, bool]], *, is_there: Callable[[str], bool]
    ) -> None:
        self._held: dict[str, bool] = {}
        self._runs: list[IO[bytes]] = []
        self._removed: set[str] = set()
        self._is_there = is_there
        self._length = 0
        self.endings: set[str] = set()
        for name, is_folder in children:
            self._held[name] = is_folder
            if len(self._held) > MOST_IN_MEMORY:
                self._spill()
        if self._runs:
            self._spill()
        else:
            self._count()

    def __contains__(self, name: object) -> bool:
        if not self._runs:
            return name in self._held
        return isinstance(name, str) and name not in self._removed and self._is_there(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.items())

    def __len__(self) -> int:
        return self._length - len(self._removed)

    @classmethod
    def _from_iterable(cls, names: Iterable[str]) -> Set[str]:  # type: ignore[override]
        """What `&` and its like give: a plain set."""
        return frozenset(names)

    def items(self) -> Iterator[tuple[str, bool]]:
        """Yield name and whether it is a folder, in the order of the names' bytes."""
        if not self._runs:
            held = self._held
            yield from ((name, held[name]) for name in by_bytes(held))
            return
        for name, is_folder in heapq.merge(*map(_read, self._runs)):
            if (found := os.fsdecode(name)) not in self._removed:
                yield found, is_folder

    def remove(self, name: str) -> None:
        """Leave a name out from now on."""
        if self._runs:
            self._removed.add(name)
        else:
            del self._held[name]
            self._length -= 1

    def _count(self) -> None:
        self._length += len(self._held)
        self.endings |= {
            name[name.rfind(".") :]
            for name, is_folder in self._held.items()
            if not is_folder and not name.startswith(".")
        }

    def _spill(self) -> None:
        """Write what is held as a run of its own."""
        self._count()
        run = tempfile.TemporaryFile()  # noqa: SIM115  # it is read as long as there are names
        for name in by_bytes(self._held):
            run.write(os.fsencode(name) + (b"/\0" if self._held[name] else b"\0"))
        run.flush()
        weakref.finalize(self, run.close)
        self._runs.append(run)
        self._held = {}


def by_bytes(names: Iterable[str]) -> list[str]:
    """Return names in the order of their bytes."""
    # Of ASCII names the order of characters is that of bytes, and found three times as fast.
    is_ascii = "".join(names).isascii()
    return sorted(names) if is_ascii else sorted(names, key=os.fsencode)


def _read(run: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield the names of a run; several may read it at a time."""
    position, rest = 0, b""
    while block := os.pread(run.fileno(), _READ_BYTES, position):
        position += len(block)
        *lines, rest = (rest + block).split(b"\0")
        for line in lines:
            yield (line[:-1], True) if line.endswith(b"/") else (line, False)
