"""Independent work spread over several processes: each has a pipe and is told an item at a time."""

from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from dvse.errors import DvseError, WorkerDiedError
from pipelines.engines.child import Child

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    num_workers: int,
    *,
    name: Callable[[Item], str],
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with what became of it as soon as it is done, in any order.

    With one worker, or one item, the work is done here.

    Args:
        work: picklable; its results are.
        items: picklable.
        num_workers: processes at most.
        name: how an item is called where the process that was at it died.

    Raises:
        WorkerDiedError: a process was killed.
        DvseError, OSError: as `work` raises them.

    >>> list(spread(abs, [-1, 2], 1, name=str))
    [(-1, 1), (2, 2)]
    """
    num_workers = min(num_workers, len(items))
    if num_workers <= 1:
        for item in items:
            yield item, work(item)
        return
    waiting = iter(items)
    children = [Child(_work, (work,)) for _ in range(num_workers)]
    at_work: dict[Connection, Item] = {}
    try:
        for child in children:
            _hand_out(child.connection, waiting, at_work)
        while at_work:
            for connection in wait(list(at_work)):
                assert isinstance(connection, Connection)
                item = at_work.pop(connection)
                answer = _receive(connection, name(item))
                _hand_out(connection, waiting, at_work)
                yield item, answer
    finally:
        for child in children:
            child.kill()


def _hand_out(
    connection: Connection, waiting: Iterator[Item], at_work: dict[Connection, Item]
) -> None:
    item = next(waiting, None)
    if item is not None:
        connection.send(item)
        at_work[connection] = item


def _receive(connection: Connection, name: str) -> Any:
    try:
        answer: Any = connection.recv()
    except (EOFError, ConnectionResetError):
        raise WorkerDiedError(
            f"the process that wrote {name} was killed; run the same command again: what is "
            "finished stays (fewer --workers need less memory)"
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _work(connection: Connection, work: Callable[[Any], Any]) -> None:
    while True:
        item = connection.recv()
        try:
            connection.send(work(item))
        except (DvseError, OSError) as error:
            connection.send(error)
