"""Who comes next: clients take turns, the requests of one client keep their order."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """A queue a client, served in turn.

    >>> queue = FairQueue()
    >>> for client, item in [("a", 1), ("a", 2), ("a", 3), ("b", 4)]:
    ...     queue.push(client, item)
    >>> [queue.pop() for _ in range(len(queue))]
    [1, 4, 2, 3]
    """

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Item]] = OrderedDict()
        self._length = 0

    def push(self, client: str, item: Item) -> None:
        """Append to the client's queue."""
        self._queues.setdefault(client, deque()).append(item)
        self._length += 1

    def peek(self) -> Item:
        """Return what `pop` would return."""
        return next(iter(self._queues.values()))[0]

    def pop(self) -> Item:
        """Take the first item of the client whose turn it is, and send that client to the end."""
        client, queue = next(iter(self._queues.items()))
        item = queue.popleft()
        self._length -= 1
        del self._queues[client]
        if queue:
            self._queues[client] = queue
        return item

    def remove(self, is_unwanted: Callable[[Item], bool]) -> None:
        """Drop all items that are unwanted."""
        for client in list(self._queues):
            kept = deque(item for item in self._queues[client] if not is_unwanted(item))
            self._length -= len(self._queues[client]) - len(kept)
            if kept:
                self._queues[client] = kept
            else:
                del self._queues[client]

    def __iter__(self) -> Iterator[Item]:
        return (item for queue in self._queues.values() for item in queue)

    def __len__(self) -> int:
        return self._length
