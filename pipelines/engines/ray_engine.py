"""The engine of a cluster: a Ray actor for each GPU, or for each node, with a local engine in it.

    records ─► batches ─► actor (decode workers ─► encoder) ─► rows ─► outcomes

The job keeps a bounded number of records on each actor, so what lies in Ray's object store is
bounded too. An actor or a node that dies costs what it had open: those records go to others, and
an actor takes its place as soon as the cluster has room for one.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dvse.errors import DvseError, JobError, WorkerDiedError
from pipelines.engines.engine import Engine, EngineStopped, Numbered, Outcome
from pipelines.engines.local import LocalEngine
from pipelines.engines.ray_cluster import Cluster
from pipelines.engines.ray_node import RayNode
from pipelines.engines.task_feed import POLL_S, TaskFeed, held_bytes
from pipelines.steps.step import Step, StepDescription

_BATCH, _ON_NODE, _BYTES_ON_NODE = 64, 192, 128 << 20
_DEATHS, _FAILED_STARTS = 5, 8


@dataclass(eq=False, kw_only=True)
class _Node:
    """An actor seen from the job.

    Attributes:
        actor: Ray's handle.
        answer: reference to what it is going to say next.
        is_ready: whether it has said what its step is.
        open: records without an outcome, by number.
    """

    actor: Any
    answer: Any
    is_ready: bool = False
    open: dict[int, Numbered] = field(default_factory=dict)
    num_bytes: int = 0

    @property
    def has_room(self) -> bool:
        return len(self.open) + _BATCH <= _ON_NODE and self.num_bytes < _BYTES_ON_NODE

    def close(self, index: int) -> Numbered | None:
        """Take out a record that has its outcome."""
        if (numbered := self.open.pop(index, None)) is not None:
            self.num_bytes -= held_bytes(numbered)
        return numbered


class RayEngine(Engine):
    """Actors of a Ray cluster.

    Args:
        address: of the cluster; `None` starts one on this machine.
        device: `cpu`, an actor a node; or `cuda`, an actor a GPU.
        num_workers: decode processes of an actor; by default the processors that it gets.
        max_chunks: chunks that an encoder takes at once.
        time_limit_s: seconds that a decoder may take without any progress.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        device: str = "cpu",
        num_workers: int | None = None,
        max_chunks: int = 256,
        time_limit_s: float = 120.0,
    ) -> None:
        self._address, self._device, self._num_workers = address, device, num_workers
        self._max_chunks, self._time_limit_s = max_chunks, time_limit_s
        self._cluster: Cluster | None = None
        self._nodes: list[_Node] = []
        self._again: deque[list[Numbered]] = deque()
        self._deaths: Counter[int] = Counter()
        self._failed_starts = 0
        self._description: StepDescription | None = None

    def open(self, step: Step) -> StepDescription:
        """Start the actors and wait until the first of them is ready."""
        self._cluster = Cluster(self._address)
        self._room = self._cluster.room(self._device)
        self._step = step
        self._nodes = [self._new_node() for _ in range(self._room.num_actors)]
        while self._description is None:
            if self.is_stopped():
                raise EngineStopped
            self._listen()
        return self._description

    def run(self, records: Iterator[Numbered | None]) -> Iterator[Outcome]:
        """Yield an outcome for each record."""
        feed = TaskFeed(records)
        while not self.is_stopped():
            self._hand_out(feed)
            yield from feed.failed
            feed.failed.clear()
            if feed.is_exhausted and not self._again and not any(n.open for n in self._nodes):
                return
            yield from self._listen()

    def close(self) -> None:
        """End every actor, and the cluster where it was started here."""
        if self._cluster is None:
            return
        import ray

        for node in self._nodes:
            with contextlib.suppress(Exception):  # it may be gone already
                ray.kill(node.actor)
        self._nodes = []
        self._cluster.leave()
        self._cluster = None

    def _new_node(self) -> _Node:
        import ray

        workers = self._num_workers or self._room.cpus
        engine = LocalEngine(
            devices=[self._device],
            num_workers=workers,
            max_chunks=self._max_chunks,
            time_limit_s=self._time_limit_s,
        )
        options: Mapping[str, Any] = {
            "num_cpus": self._room.cpus,
            "num_gpus": self._room.gpus,
            "max_concurrency": 4,  # it is given records while somebody waits for outcomes
            "scheduling_strategy": "SPREAD",
        }
        actor = ray.remote(RayNode).options(**options).remote(self._step, engine)
        return _Node(actor=actor, answer=actor.describe.remote())

    def _hand_out(self, feed: TaskFeed) -> None:
        for node in sorted(self._nodes, key=lambda node: len(node.open)):
            while node.is_ready and node.has_room:
                batch = self._again.popleft() if self._again else _next(feed)
                if batch is None:
                    return
                node.open.update((numbered.index, numbered) for numbered in batch)
                node.num_bytes += sum(map(held_bytes, batch))
                node.actor.give.remote(batch)

    def _listen(self) -> list[Outcome]:
        """Wait until some actor has something to say, and take it."""
        import ray

        by_answer = {node.answer: node for node in self._nodes}
        ready, _ = ray.wait(list(by_answer), num_returns=len(by_answer), timeout=0)
        if not ready:
            ready, _ = ray.wait(list(by_answer), num_returns=1, timeout=POLL_S)
        outcomes: list[Outcome] = []
        for answer in ready:
            node = by_answer[answer]
            try:
                said = ray.get(answer)
            except ray.exceptions.RayTaskError as error:
                raise _cause(error) from None
            except ray.exceptions.RayError as error:
                self._replace(node, error)
                continue
            if isinstance(said, StepDescription):
                self._welcome(node, said)
            else:
                outcomes += [o for o in said if node.close(o.index) is not None]
            node.answer = node.actor.take.remote()
        return outcomes

    def _welcome(self, node: _Node, said: StepDescription) -> None:
        """An actor is ready: it has to compute as the others do."""
        first = self._description = self._description or said
        if said.profile != first.profile:
            raise JobError(
                "the nodes of the Ray cluster do not compute alike; expected the numerics profile "
                f"{dict(first.profile)}, received {dict(said.profile)}; give --threads, install "
                "the same versions, or use nodes of one kind"
            )
        node.is_ready, self._failed_starts = True, 0

    def _replace(self, node: _Node, error: Exception) -> None:
        """An actor is gone: what it had open is done again, and another one takes its place."""
        reason = " ".join(str(error).split())[:300]
        if not node.is_ready:
            self._failed_starts += 1
            if self._failed_starts > _FAILED_STARTS:
                raise JobError(f"actors cannot be started on the Ray cluster ({reason})")
        lost: dict[int, list[Numbered]] = {}
        for numbered in node.open.values():
            lost.setdefault(numbered.partition, []).append(numbered)
        for partition, again in lost.items():
            self._deaths[partition] += 1
            if self._deaths[partition] >= _DEATHS:
                raise WorkerDiedError(
                    f"partition {partition}: its Ray actor died {_DEATHS} times ({reason}); are "
                    "the nodes out of memory? Run the same command again to go on"
                )
            self._again.append(again)
        self._nodes[self._nodes.index(node)] = self._new_node()


def _next(feed: TaskFeed) -> list[Numbered] | None:
    task = feed.next(_BATCH)
    return None if task is None else task[1]


def _cause(error: Any) -> Exception:
    """What was raised inside an actor."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, DvseError) else JobError(f"a Ray actor failed: {error}")
