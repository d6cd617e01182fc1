"""Each input has one outcome, however often it was tried."""

import pytest

from dvse.errors import WorkerDiedError
from pipelines.engines.engine import Numbered
from pipelines.engines.task_board import TaskBoard
from pipelines.engines.task_feed import TaskFeed
from pipelines.sources.record import Failure, HeldPlace, ItemRef, Record


class Device:
    load = 0


def numbered(index: int, partition: int = 0) -> Numbered:
    record = Record(id=str(index), source=f"{index}.png")
    return Numbered(partition=partition, index=index, record=record)


@pytest.fixture
def board() -> TaskBoard:
    return TaskBoard()


def test_rows_and_failures_close_inputs_once(board):
    feed = TaskFeed(iter([numbered(0), numbered(1)]))
    board.adapt(seconds=1e-9, num_inputs=100)  # as large as tasks become
    task = board.next_task(feed, [Device()])
    assert (task.size, sorted(task.open)) == (2, [0, 1])
    board.done((task.id, 0), {"id": "0"})
    board.done((task.id, 0), {"id": "again"})
    board.failed((task.id, 0), Failure(stage="read", type="E", reason="late"))
    board.failed((task.id, 1), Failure(stage="read", type="E", reason="no"))
    assert [o.row and o.row["id"] for o in board.outcomes] == ["0", None]
    assert board.is_empty and board.next_task(feed, [Device()]) is None


def test_what_is_tried_again_comes_before_what_is_new(board):
    feed = TaskFeed(iter([numbered(0), numbered(1)]))
    first = board.next_task(feed, [Device()])
    board.try_again(first, [0])
    board.done((first.id, 0), {"id": "0"})  # the lost device's row came late: it is not taken
    assert not board.outcomes and not board.is_empty
    again = board.next_task(feed, [Device()])
    assert list(again.open) == [0] and again.id != first.id


def test_a_task_goes_to_the_device_with_the_least_to_do(board):
    idle, busy = Device(), Device()
    busy.load = 7
    task = board.next_task(TaskFeed(iter([numbered(0)])), [busy, idle])
    assert task.device is idle
    assert (board.of_device(idle), board.of_device(busy)) == ([task], [])


def test_the_second_death_ends_the_job(board):
    board.count_death(3, "a decode worker died")
    board.count_death(4, "a decode worker died")
    with pytest.raises(WorkerDiedError, match=r"partition 3: it died at a\.png, for the second"):
        board.count_death(3, "it died", " at a.png")


def test_a_task_ends_where_its_records_carry_much():
    def carrying(index, num_bytes):
        ref = ItemRef(kind="image", place=HeldPlace(bytes(num_bytes)))
        record = Record(id=str(index), source=f"a.tgz#{index}", refs=(ref,))
        return Numbered(partition=0, index=index, record=record)

    feed = TaskFeed(carrying(index, 12 << 20) for index in range(7))
    sizes = []
    while (task := feed.next(64)) is not None:
        sizes.append(len(task[1]))
    assert sizes == [3, 3, 1]
