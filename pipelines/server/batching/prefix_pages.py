"""Prompts that begin alike share work: keys and values are kept a page of tokens at a time.

A page is known by the hash of all ids up to its end, so the same picture after the same words is
computed once. Pages lie in a part of the cache of their own and the one that was used longest ago
makes way. Only whole pages are kept, and a prompt's last token is always computed: its logits are
needed. Knows ids and places, no tensors.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np


class PrefixPages:
    """Which page lies where.

    >>> pages = PrefixPages(page_size=2, num_pages=4)
    >>> pages.add([1, 2, 3, 4, 5])
    [(0, 0), (2, 2)]
    >>> pages.find([1, 2, 3, 9, 9]), pages.find([1, 2])
    ([0], [])
    """

    def __init__(self, *, page_size: int, num_pages: int, start: int = 0) -> None:
        self.page_size = page_size
        self._places: OrderedDict[bytes, int] = OrderedDict()
        self._unused = [start + page_size * i for i in reversed(range(num_pages))]

    def find(self, ids: Sequence[int]) -> list[int]:
        """Return the places of the pages with which `ids` begin, in order."""
        found: list[int] = []
        for key in self._keys(ids):
            place = self._places.get(key)
            if place is None:
                break
            self._places.move_to_end(key)
            found.append(place)
        return found

    def add(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Make room for the pages of a computed prompt that are not there yet.

        Returns:
            For each new page its first position in the prompt and the place to copy it to.
        """
        new = []
        keys = self._keys(ids)
        for key in keys:
            if key in self._places:
                self._places.move_to_end(key)
        for number, key in enumerate(keys):
            if key in self._places:
                continue
            if not self._unused:
                if not self._places or next(iter(self._places)) in keys:
                    break  # all room is taken by this very prompt
                self._unused.append(self._places.popitem(last=False)[1])
            self._places[key] = self._unused.pop()
            new.append((number * self.page_size, self._places[key]))
        return new

    def _keys(self, ids: Sequence[int]) -> list[bytes]:
        whole = (len(ids) - 1) // self.page_size
        data = np.asarray(ids[: whole * self.page_size], dtype="<i4").tobytes()
        digest = hashlib.sha256()
        keys = []
        for page in range(whole):
            digest.update(data[4 * page * self.page_size : 4 * (page + 1) * self.page_size])
            keys.append(digest.digest())
        return keys
