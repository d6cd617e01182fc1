"""A job on a real Ray cluster whose actors, and whose nodes, are killed at random moments.

Five deaths over one shard end the job; run again, it goes on.
"""

import contextlib
import os
import random
import signal
import threading
from pathlib import Path

import pytest
import ray_nodes
from fake_step import FakeStep
from killed_job import clean, slow_pictures, state

from dvse.errors import WorkerDiedError
from pipelines.engines.ray_engine import RayEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore::")]


@pytest.fixture(scope="module")
def cluster():
    with ray_nodes.running() as made:
        yield made


class Killer:
    """A thread that kills until it has killed enough, while somebody works.

    Two of three times something has been done since the last kill, or the work would never end on
    a machine that starts its actors slowly; the others may hit one that is starting.
    """

    def __init__(self, kill, count, rng, *, count_done):
        self._kill, self._count, self._rng = kill, count, rng
        self._count_done = count_done
        self.num_killed = 0
        self._failed: BaseException | None = None

    @contextlib.contextmanager
    def at_work(self):
        end = threading.Event()
        thread = threading.Thread(target=self._watched_strike, args=(end,))
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()
            if self._failed is not None:
                raise self._failed  # or nobody would ever be killed

    def _watched_strike(self, end):
        try:
            self._strike(end)
        except BaseException as error:
            self._failed = error

    def _strike(self, end):
        while self.num_killed < self._count and not end.wait(self._rng.uniform(0, 2)):
            before = self._count_done()
            waits = self._rng.random() < 2 / 3
            while waits and self._count_done() == before:
                if end.wait(0.1):
                    return
            self.num_killed += self._kill(end)

    @property
    def has_killed_enough(self):
        return self.num_killed >= self._count


def kill_actor(cluster, rng):
    def kill(end):
        actors = [pid for node in cluster.list_all_nodes() for pid in actors_of(node)]
        if end.is_set() or not actors:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(actors), signal.SIGKILL)
            return 1
        return 0

    return kill


def actors_of(node):
    """Process ids of the actors of a node: asking Ray takes longer than many a job."""
    for info in node.all_processes.get("raylet", []):
        for children in Path(f"/proc/{info.process.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for pid in children.read_text().split():
                    if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::RayNode"):
                        yield int(pid)


def kill_node(cluster, rng):
    """A node with all that runs on it, as if its machine had lost power; another one joins."""

    def kill(end):
        if end.is_set():
            return 0
        node = rng.choice(list(cluster.worker_nodes))
        actors = list(actors_of(node))
        cluster.remove_node(node, allow_graceful=False)
        for pid in actors:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ray_nodes.add_from_thread(cluster)
        return 1

    return kill


@pytest.mark.parametrize("make_kill", [kill_actor, kill_node], ids=["actor", "node"])
def test_twenty_killed_at_random_moments(cluster, tmp_path, make_kill):
    rng = random.Random(make_kill.__name__)
    folder, out = slow_pictures(tmp_path / "in", 2000), tmp_path / "out"
    config = JobConfig(inputs=[str(folder)], output=out, shard_size=8)
    done = out / ".job" / "done"
    killer = Killer(
        make_kill(cluster, rng), 20, rng, count_done=lambda: len(list(done.glob("*.json")))
    )
    while not killer.has_killed_enough:
        engine = RayEngine(address=cluster.address)
        with killer.at_work(), contextlib.suppress(WorkerDiedError):
            Job(config, FakeStep(), engine).run()
        markers = sorted(done.glob("*.json"))
        if not killer.has_killed_enough and len(markers) > 150:  # fewer where it ended before
            for marker in rng.sample(markers, 150):
                marker.unlink()  # so that there is something to do while more are killed
    Job(config, FakeStep(), RayEngine(address=cluster.address)).run()
    assert state(out) == clean(folder, tmp_path / "clean")
