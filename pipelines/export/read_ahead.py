"""Reading ahead: a thread decodes the next documents while the present ones are written."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_AHEAD = 4


class _End(Generic[T]):
    """The end of what is read, or the error that it ended with."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def read_ahead(source: Iterable[T]) -> Iterator[T]:
    """Yield what `source` yields; at most four items wait.

    Decoding and writing leave the interpreter to others, so the two overlap.

    >>> list(read_ahead(range(3)))
    [0, 1, 2]
    """
    waiting: queue.Queue[T | _End[T]] = queue.Queue(maxsize=_AHEAD)
    is_left = threading.Event()

    def put(item: T | _End[T]) -> bool:
        while not is_left.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        error: BaseException | None = None
        try:
            for item in source:
                if not put(item):
                    return
        except BaseException as raised:
            error = raised
        put(_End(error))

    thread = threading.Thread(target=read, name="export-reader", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        is_left.set()
        thread.join()
