"""Names made unique in the order of the inputs: the second `a.jpg` becomes `a.jpg#2`.

What was seen is kept as 64-bit hashes in a few sorted arrays: 8 bytes a name, so a hundred
million names fit in memory. A collision of hashes only costs a needless suffix.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

_FLUSH_AT = 4096


class UniqueNames:
    """Remembers names and renames repeated ones.

    >>> names = UniqueNames()
    >>> [names.claim(n) for n in ("a", "b", "a", "a")]
    ['a', 'b', 'a#2', 'a#3']
    """

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._runs: list[np.ndarray] = []
        self._repeated: dict[int, int] = {}

    def claim(self, name: str) -> str:
        """Return `name`, with the first free number behind it if it is taken, and remember it."""
        key = _hash(name)
        if not self._has(key):
            self._remember(key)
            return name
        number = self._repeated.get(key, 1)
        while True:
            number += 1
            free = f"{name}#{number}"
            if not self._has(free_key := _hash(free)):
                break
        self._repeated[key] = number
        self._remember(free_key)
        return free

    def add(self, names: Iterable[str]) -> None:
        """Remember names that were claimed in an earlier run."""
        for name in names:
            self._remember(_hash(name))

    def _has(self, key: int) -> bool:
        if key in self._recent:
            return True
        probe = np.uint64(key)
        for run in self._runs:
            at = int(np.searchsorted(run, probe))
            if at < len(run) and run[at] == probe:
                return True
        return False

    def _remember(self, key: int) -> None:
        self._recent.add(key)
        if len(self._recent) >= _FLUSH_AT:
            self._runs.append(np.sort(np.fromiter(self._recent, np.uint64, len(self._recent))))
            self._recent = set()
            # Runs double in size, so there are few of them and each name is sorted few times.
            while len(self._runs) > 1 and len(self._runs[-2]) <= len(self._runs[-1]):
                last = self._runs.pop()
                self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]))


def _hash(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
