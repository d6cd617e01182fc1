"""What is under way: tasks with their open inputs, what is tried again, what has come out."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from dvse.errors import WorkerDiedError
from pipelines.engines.device_process import DeviceProcess
from pipelines.engines.engine import Numbered, Outcome
from pipelines.engines.messages import Key
from pipelines.engines.task_feed import TaskFeed
from pipelines.sources.record import Failure

_TASK_S = 0.25
_LARGEST_TASK = 256


@dataclass(kw_only=True)
class Task:
    """Some inputs of one partition, given to one worker and one device.

    Attributes:
        size: inputs in it.
        open: inputs without an outcome, by number.
        prepared: those of them whose chunks have gone to the device.
        is_lost: the device died meanwhile; what the worker still sends is thrown away.
    """

    id: int
    partition: int
    device: DeviceProcess
    size: int
    open: dict[int, Numbered]
    prepared: set[int] = field(default_factory=set)
    is_lost: bool = False


class TaskBoard:
    """Every input that was handed out has one outcome in the end, however often it was tried.

    Attributes:
        outcomes: those that nobody has taken yet.
    """

    def __init__(self) -> None:
        self.outcomes: deque[Outcome] = deque()
        self._tasks: dict[int, Task] = {}
        self._retries: deque[tuple[int, list[Numbered]]] = deque()
        self._deaths: Counter[int] = Counter()
        self._ids = count()
        self._task_size = 1.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is under way and nothing waits to be tried again."""
        return not self._retries and not self._tasks

    def next_task(self, feed: TaskFeed, devices: Sequence[DeviceProcess]) -> Task | None:
        """Return a task for an idle worker, or `None` where there is nothing to do for now."""
        cut = self._retries.popleft() if self._retries else feed.next(int(self._task_size))
        if cut is None:
            return None
        partition, numbered = cut
        task = Task(
            id=next(self._ids),
            partition=partition,
            device=min(devices, key=lambda device: device.load),
            size=len(numbered),
            open={n.index: n for n in numbered},
        )
        self._tasks[task.id] = task
        return task

    def of_device(self, device: DeviceProcess) -> list[Task]:
        """Return the tasks whose chunks go there."""
        return [task for task in self._tasks.values() if task.device is device]

    def done(self, key: Key, row: dict[str, Any]) -> None:
        """An input has its row; one that has an outcome already is left alone."""
        if (numbered := self._close(key)) is not None:
            self.outcomes.append(Outcome.done(numbered, row))

    def failed(self, key: Key, failure: Failure) -> None:
        """An input came to nothing."""
        if (numbered := self._close(key)) is not None:
            self.outcomes.append(Outcome.failed(numbered, failure))

    def try_again(self, task: Task, indexes: Sequence[int]) -> None:
        """Put inputs of a task back into the queue."""
        again = [n for i in indexes if (n := self._close((task.id, i))) is not None]
        if again:
            self._retries.append((task.partition, again))

    def count_death(self, partition: int, what: str, at: str = "") -> None:
        """Note that a process died over a partition.

        Raises:
            WorkerDiedError: for the second time.
        """
        self._deaths[partition] += 1
        if self._deaths[partition] < 2:
            return
        raise WorkerDiedError(
            f"partition {partition}: {what}{at}, for the second time; is the machine out of "
            "memory? Run the same command again to go on, with fewer --workers or a smaller "
            "--batch-size"
        )

    def adapt(self, seconds: float, num_inputs: int) -> None:
        """Aim at tasks that take a quarter of a second; their bounds never change a row."""
        wanted = _TASK_S * num_inputs / max(seconds, 1e-4)
        self._task_size = min(max(1.0, (self._task_size + wanted) / 2), _LARGEST_TASK)

    def _close(self, key: Key) -> Numbered | None:
        """Take an input that has an outcome out of its task."""
        task_id, index = key
        task = self._tasks.get(task_id)
        numbered = task.open.pop(index, None) if task is not None else None
        if task is not None and not task.open:
            del self._tasks[task_id]
        return numbered
