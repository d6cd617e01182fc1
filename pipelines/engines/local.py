"""The engine of this machine: decode workers, one process a device, and the loop between them.

    records ─► tasks ─► decode workers ─► pieces ─► device processes ─► rows ─► outcomes

Every process has a pipe of its own to this one, so none can leave a lock behind when it dies. The
loop forwards pieces without unpickling them, reads from workers only while their device has room,
and so bounds what is under way. A decoder that crashes or hangs costs the input it was at; a
process that was killed from outside costs a second try of its partition, and the job the second
time.
"""

import pickle
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from itertools import count
from multiprocessing.connection import wait

from dvse.errors import ConfigError, JobError, WorkerDiedError
from pipelines.engines.decode_worker import DecodeWorker, Task
from pipelines.engines.device_process import DeviceProcess
from pipelines.engines.engine import Engine, EngineStopped, Numbered, Outcome
from pipelines.engines.task_feed import _POLL_S, _Feed
from pipelines.sources.record import Failure
from pipelines.steps.step import Step, StepDescription

_TASK_S = 0.25
_LARGEST_TASK = 256
_STARTS = 3


class LocalEngine(Engine):
    """Processes of this machine.

    Args:
        devices: one process each.
        num_workers: decode processes.
        max_chunks: chunks that a device takes at once.
        time_limit_s: seconds that a decoder may take without any progress.

    Raises:
        ConfigError: a number below 1, or no device.
    """

    def __init__(
        self,
        *,
        devices: Sequence[str] = ("cpu",),
        num_workers: int = 1,
        max_chunks: int = 256,
        time_limit_s: float = 120.0,
    ) -> None:
        if num_workers < 1 or max_chunks < 1 or not devices or not time_limit_s > 0:
            raise ConfigError(
                "expected at least 1 worker, at least 1 chunk at once, a device and a time "
                f"limit above 0, received {num_workers}, {max_chunks}, {devices}, {time_limit_s}"
            )
        self._device_names = list(devices)
        self._num_workers = num_workers
        self._max_chunks = max_chunks
        self._time_limit_s = time_limit_s
        # On a CPU encoders and decoders share the cores; the encoder is the one to keep busy. A
        # little is enough, and much would starve the decoders beside other people's work.
        self._niceness = 3 if "cpu" in self._device_names else 0
        self._devices: list[DeviceProcess] = []
        self._workers: list[DecodeWorker] = []
        self._outcomes: deque[Outcome] = deque()
        self._retries: deque[tuple[int, list[Numbered]]] = deque()
        self._tasks: dict[int, Task] = {}
        self._task_ids = count()
        self._deaths: Counter[int] = Counter()
        self._failed_starts = 0
        self._task_size = 1.0

    def open(self, step: Step) -> StepDescription:
        """Start every process and wait until the devices are ready."""
        self._step = step
        self._devices = [self._new_device(name) for name in self._device_names]
        self._workers = [DecodeWorker(niceness=self._niceness) for _ in range(self._num_workers)]
        for device in self._devices:
            while not wait([device.connection], _POLL_S):
                if self.is_stopped():
                    raise EngineStopped
            device.receive_ready()
        description = self._devices[0].description
        assert description is not None
        self._preparer = pickle.dumps(description.preparer, pickle.HIGHEST_PROTOCOL)
        for worker in self._workers:
            worker.begin(self._preparer)
        return description

    def run(self, records: Iterator[Numbered]) -> Iterator[Outcome]:
        """Yield an outcome for each record."""
        feed = _Feed(records)
        while not self.is_stopped():
            self._hand_out(feed)
            self._outcomes.extend(feed.failed)
            feed.failed.clear()
            while self._outcomes:
                yield self._outcomes.popleft()
            if feed.is_exhausted and not self._retries and not self._tasks:
                return
            self._listen()
            self._stop_hanging()

    def close(self) -> None:
        """End every process."""
        for worker in self._workers:
            worker.kill()
        for device in self._devices:
            device.kill()
        self._workers, self._devices = [], []

    def _hand_out(self, feed: "_Feed") -> None:
        ready = [device for device in self._devices if device.description is not None]
        for worker in self._workers:
            if not worker.is_ready or worker.task is not None or not ready:
                continue
            if self._retries:
                partition, numbered = self._retries.popleft()
            elif (cut := feed.next(int(self._task_size))) is not None:
                partition, numbered = cut
            else:
                continue
            task = Task(
                id=next(self._task_ids),
                partition=partition,
                device=min(ready, key=lambda device: device.load),
                size=len(numbered),
                open={n.index: n for n in numbered},
            )
            self._tasks[task.id] = task
            worker.send(task)
        if not any(worker.task for worker in self._workers):
            for device in ready:
                device.flush()

    def _listen(self) -> None:
        """Wait until some process has something to say, and take it."""
        by_connection: dict[object, DeviceProcess | DecodeWorker] = {
            device.connection: device for device in self._devices
        }
        for worker in self._workers:
            if worker.task is None or worker.task.device.has_room:
                by_connection[worker.connection] = worker
        for connection in wait(list(by_connection), _POLL_S):  # type: ignore[arg-type]
            process = by_connection[connection]
            if isinstance(process, DeviceProcess):
                self._hear_device(process)
            elif process in self._workers:
                self._hear_worker(process)

    def _hear_device(self, device: DeviceProcess) -> None:
        if device not in self._devices:
            return  # replaced a moment ago
        if device.description is None:
            device.receive_ready()
            return
        try:
            result = device.receive()
        except (EOFError, OSError):
            self._replace_device(device)
            return
        for (task_id, index), row in result.rows:
            if (numbered := self._close_input(task_id, index)) is not None:
                self._outcomes.append(Outcome.done(numbered, row))
        for (task_id, index), failure in result.failures:
            if (numbered := self._close_input(task_id, index)) is not None:
                self._outcomes.append(Outcome.failed(numbered, failure))

    def _hear_worker(self, worker: DecodeWorker) -> None:
        task = worker.task
        try:
            if not worker.is_ready:
                worker.receive_ready()
                self._failed_starts = 0
                return
            report, body = worker.receive()
        except (EOFError, OSError):
            self._replace_worker(worker)
            return
        assert task is not None
        if report.is_last:
            worker.task = None
            self._adapt(report.seconds, task.size)
        for index, failure in report.failures:
            task.device.forget((task.id, index))
            if (numbered := self._close_input(task.id, index)) is not None:
                self._outcomes.append(Outcome.failed(numbered, failure))
        if body and not task.is_lost:
            task.prepared.update(report.prepared)
            try:
                task.device.send(body, report.num_chunks)
            except OSError:
                self._replace_device(task.device)
        if report.is_last and task.is_lost:
            self._try_again(task, list(task.open))

    def _close_input(self, task_id: int, index: int) -> Numbered | None:
        """Take an input that has an outcome out of its task."""
        task = self._tasks.get(task_id)
        numbered = task.open.pop(index, None) if task is not None else None
        if task is not None and not task.open:
            del self._tasks[task_id]
        return numbered

    def _try_again(self, task: Task, indexes: Sequence[int]) -> None:
        """Put inputs of a task back into the queue."""
        again = [n for i in indexes if (n := self._close_input(task.id, i)) is not None]
        if again:
            self._retries.append((task.partition, again))

    def _stop_hanging(self) -> None:
        for worker in list(self._workers):
            if worker.task is not None and worker.seconds_on_input() > self._time_limit_s:
                current = worker.current_input()
                worker.kill()
                reason = TimeoutError(
                    f"the decoder made no progress in {self._time_limit_s:g} seconds; "
                    "raise --time-limit if the file is good"
                )
                self._replace_worker(worker, blame=(current, Failure.of("decode", reason)))

    def _replace_worker(
        self, worker: DecodeWorker, blame: tuple[int | None, Failure] | None = None
    ) -> None:
        """A worker is gone: settle its task and start another one."""
        task, current = worker.task, worker.current_input()
        crashed, how = worker.crashed(), worker.how_it_ended()
        worker.kill()
        place = self._workers.index(worker)
        if task is None:
            self._failed_starts += 1
            if self._failed_starts > _STARTS:
                raise JobError(f"decode workers cannot be started ({how}); is there enough memory?")
        elif blame is None and crashed and current is not None:
            error = ChildProcessError(f"the decoder crashed its process ({how})")
            blame = (current, Failure.of("decode", error))
        if task is not None:
            left = [index for index in task.open if index not in task.prepared]
            if blame is not None and blame[0] in left:
                index, failure = blame
                assert index is not None
                task.device.forget((task.id, index))
                numbered = self._close_input(task.id, index)
                assert numbered is not None
                self._outcomes.append(Outcome.failed(numbered, failure))
                left.remove(index)
            elif left:
                self._count_death(task.partition, f"a decode worker died ({how})", task, current)
            for index in left:
                task.device.forget((task.id, index))
            self._try_again(task, left if not task.is_lost else list(task.open))
        fresh = DecodeWorker(niceness=self._niceness)
        fresh.begin(self._preparer)
        self._workers[place] = fresh

    def _replace_device(self, device: DeviceProcess) -> None:
        """A device process is gone: everything in it is done again by the next one."""
        how = device.how_it_ended()
        device.kill()
        lost = [task for task in self._tasks.values() if task.device is device]
        for partition in sorted({task.partition for task in lost}):
            self._count_death(partition, f"the process of device {device.device} died ({how})")
        busy = {worker.task.id for worker in self._workers if worker.task is not None}
        fresh = self._new_device(device.device)
        self._devices[self._devices.index(device)] = fresh
        for task in lost:
            task.device, task.is_lost = fresh, True
            if task.id not in busy:
                self._try_again(task, list(task.open))

    def _count_death(
        self, partition: int, what: str, task: Task | None = None, current: int | None = None
    ) -> None:
        self._deaths[partition] += 1
        if self._deaths[partition] < 2:
            return
        numbered = task.open.get(current) if task is not None and current is not None else None
        at = f" at {numbered.record.source}" if numbered is not None else ""
        raise WorkerDiedError(
            f"partition {partition}: {what}{at}, for the second time; is the machine out of "
            "memory? Run the same command again to go on, with fewer --workers or a smaller "
            "--batch-size"
        )

    def _new_device(self, name: str) -> DeviceProcess:
        return DeviceProcess(self._step, name, max_chunks=self._max_chunks)

    def _adapt(self, seconds: float, num_inputs: int) -> None:
        """Aim at tasks that take a quarter of a second; their bounds never change a row."""
        wanted = _TASK_S * num_inputs / max(seconds, 1e-4)
        self._task_size = min(max(1.0, (self._task_size + wanted) / 2), _LARGEST_TASK)
