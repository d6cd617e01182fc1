"""Where each answer's keys and values lie: spans of one array of fixed length.

First fit over a list of free spans. A request is given room for its prompt and all it may
generate before it starts, so that nothing that runs ever has to make way. Knows integers only.
"""

from bisect import insort


class Spans:
    """Hands out half-open spans of `0 … size - 1`.

    >>> spans = Spans(10)
    >>> first, second = spans.take(4), spans.take(6)
    >>> first, second, spans.take(1)
    (0, 4, None)
    >>> spans.give_back(0, 4); spans.take(3), spans.num_free
    (0, 1)
    """

    def __init__(self, size: int, *, start: int = 0) -> None:
        self._free = [(start, start + size)] if size else []
        self.num_free = size

    def take(self, length: int) -> int | None:
        """Return the start of a free span of `length`, `None` where none is long enough."""
        for index, (start, stop) in enumerate(self._free):
            if stop - start >= length:
                if stop - start == length:
                    del self._free[index]
                else:
                    self._free[index] = (start + length, stop)
                self.num_free -= length
                return start
        return None

    def give_back(self, start: int, length: int) -> None:
        """Free a span that was taken."""
        self.num_free += length
        insort(self._free, (start, start + length))
        index = self._free.index((start, start + length))
        for left in (index, index - 1):  # join with the neighbour behind, then the one before
            if 0 <= left < len(self._free) - 1 and self._free[left][1] == self._free[left + 1][0]:
                self._free[left : left + 2] = [(self._free[left][0], self._free[left + 1][1])]
