"""The engine of this machine: decode workers, one process a device, and the loop between them.

    records ─► tasks ─► decode workers ─► pieces ─► device processes ─► rows ─► outcomes

Every process has a pipe of its own to this one, so none can leave a lock behind when it dies.
Pieces lie in shared memory, of which the loop passes handles on; it takes reports from workers only
while their device has room, and so bounds what is under way. A decoder that crashes or hangs costs
the input it was at; a process that was killed from outside costs a second try of its partition, and
the job the second time.
"""

import pickle
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait

from dvse.errors import ConfigError, JobError
from pipelines.engines.decode_worker import DecodeWorker
from pipelines.engines.device_process import DeviceProcess
from pipelines.engines.engine import Engine, EngineStopped, Numbered, Outcome
from pipelines.engines.task_board import Task, TaskBoard
from pipelines.engines.task_feed import POLL_S, TaskFeed
from pipelines.sources.record import Failure
from pipelines.steps.step import Step, StepDescription

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
        self._board = TaskBoard()
        self._failed_starts = 0

    def open(self, step: Step) -> StepDescription:
        """Start every process and wait until the devices are ready."""
        self._step = step
        self._devices = [self._new_device(name) for name in self._device_names]
        most = self._num_workers if self.num_expected is None else max(1, self.num_expected)
        count = min(self._num_workers, most)
        self._workers = [self._new_worker() for _ in range(count)]
        for device in self._devices:
            while not wait([device.connection], POLL_S):
                if self.is_stopped():
                    raise EngineStopped
            device.receive_ready()
        description = self._devices[0].description
        assert description is not None
        self._preparer = pickle.dumps(description.preparer, pickle.HIGHEST_PROTOCOL)
        for worker in self._workers:
            worker.begin(self._preparer)
        return description

    def run(self, records: Iterator[Numbered | None]) -> Iterator[Outcome]:
        """Yield an outcome for each record."""
        feed, board = TaskFeed(records), self._board
        while not self.is_stopped():
            self._hand_out(feed)
            board.outcomes.extend(feed.failed)
            feed.failed.clear()
            while board.outcomes:
                yield board.outcomes.popleft()
            if feed.is_exhausted and board.is_empty:
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

    def _hand_out(self, feed: TaskFeed) -> None:
        ready = [device for device in self._devices if device.description is not None]
        for worker in self._workers:
            is_idle = worker.is_ready and worker.task is None and ready
            if is_idle and (task := self._board.next_task(feed, ready)) is not None:
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
        for connection in wait(list(by_connection), POLL_S):  # type: ignore[arg-type]
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
        for key, row in result.rows:
            self._board.done(key, row)
        for key, failure in result.failures:
            self._board.failed(key, failure)

    def _hear_worker(self, worker: DecodeWorker) -> None:
        task = worker.task
        try:
            if not worker.is_ready:
                worker.receive_ready()
                self._failed_starts = 0
                return
            report, parcel = worker.receive()
        except (EOFError, OSError):
            self._replace_worker(worker)
            return
        assert task is not None
        if report.is_last:
            worker.task = None
            self._board.adapt(report.seconds, task.size)
        for index, failure in report.failures:
            task.device.forget((task.id, index))
            self._board.failed((task.id, index), failure)
        if parcel is not None and task.is_lost:
            parcel.close()
        elif parcel is not None:
            task.prepared.update(report.prepared)
            try:
                task.device.send(parcel, report.num_chunks)
            except OSError:
                self._replace_device(task.device)
        if report.is_last and task.is_lost:
            self._board.try_again(task, list(task.open))

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
        never_began = worker.why_it_never_began()
        worker.kill()
        place = self._workers.index(worker)
        if task is None:
            self._failed_starts += 1
            if self._failed_starts > _STARTS:
                raise JobError(f"decode workers cannot be started: {never_began}")
        elif blame is None and crashed and current is not None:
            error = ChildProcessError(f"the decoder crashed its process ({how})")
            blame = (current, Failure.of("decode", error))
        if task is not None:
            self._settle(task, blame, current, how)
        fresh = self._new_worker()
        fresh.begin(self._preparer)
        self._workers[place] = fresh

    def _settle(
        self,
        task: Task,
        blame: tuple[int | None, Failure] | None,
        current: int | None,
        how: str,
    ) -> None:
        """A task lost its worker: one input may be to blame, the others are tried again."""
        left = [index for index in task.open if index not in task.prepared]
        if blame is not None and blame[0] in left:
            index, failure = blame
            assert index is not None
            task.device.forget((task.id, index))
            self._board.failed((task.id, index), failure)
            left.remove(index)
        elif left:
            numbered = task.open.get(current) if current is not None else None
            at = f" at {numbered.record.source}" if numbered is not None else ""
            self._board.count_death(task.partition, f"a decode worker died ({how})", at)
        for index in left:
            task.device.forget((task.id, index))
        self._board.try_again(task, left if not task.is_lost else list(task.open))

    def _replace_device(self, device: DeviceProcess) -> None:
        """A device process is gone: everything in it is done again by the next one."""
        how = device.how_it_ended()
        device.kill()
        lost = self._board.of_device(device)
        for partition in sorted({task.partition for task in lost}):
            what = f"the process of device {device.device} died ({how})"
            self._board.count_death(partition, what)
        busy = {worker.task.id for worker in self._workers if worker.task is not None}
        fresh = self._new_device(device.device)
        self._devices[self._devices.index(device)] = fresh
        for task in lost:
            task.device, task.is_lost = fresh, True
            if task.id not in busy:
                self._board.try_again(task, list(task.open))

    def _new_device(self, name: str) -> DeviceProcess:
        return DeviceProcess(self._step, name, max_chunks=self._max_chunks)

    def _new_worker(self) -> DecodeWorker:
        return DecodeWorker(niceness=self._niceness, modules=self.worker_modules)
