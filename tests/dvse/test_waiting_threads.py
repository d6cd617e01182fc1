"""The threads of an encoder sleep where they wait on a busy machine, in whatever process."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from dvse import waiting_threads
from dvse.waiting_threads import has_room

# Many small operators with pauses between: a spinning team burns processor time in the pauses.
PROGRAM = """
import time, torch  # before dvse: the environment's policy is read by now
from contextlib import nullcontext
from dvse.numerics import NumericsProfile
profile = NumericsProfile.current(threads=2)
x = torch.zeros(1 << 17)
def burnt(context):
    with context:
        x.add_(1)
        before = time.process_time()
        for _ in range(100):
            x.add_(1)
            time.sleep(0.005)
        return time.process_time() - before
torch.set_num_threads(2)
print(min(burnt(nullcontext()) for _ in range(3)), min(burnt(profile.pinned()) for _ in range(3)))
print(torch.get_num_threads())
"""


def run(**environment: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
        | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(word) for word in done.stdout.split()]


pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="teams of GNU OpenMP"
)


@contextmanager
def busy_processors():
    """A process on each of them that does nothing but run, behind whatever else wants to."""
    burn = [sys.executable, "-c", "import os; os.nice(19); print(flush=True)\nwhile 1: pass"]
    others = [subprocess.Popen(burn, stdout=subprocess.PIPE) for _ in os.sched_getaffinity(0)]
    try:
        for other in others:
            other.stdout.readline()
        yield
    finally:
        for other in others:
            other.kill()
            other.communicate()


def test_waiting_burns_little_on_a_busy_machine():
    with busy_processors():
        spinning, asleep, num_threads = run()
    assert asleep < spinning / 2
    assert num_threads == 2


def test_there_is_no_room_beside_others():
    with busy_processors():
        assert not any(has_room(2, len(os.sched_getaffinity(0))) for _ in range(20))


# (running, of them here), threads, processors: by hand.
ROOM = [
    ((1, 1), 2, 2, True),  # alone
    ((2, 2), 2, 2, True),  # the other member still spins
    ((2, 1), 2, 2, False),  # somebody else runs
    ((2, 1), 2, 4, True),
    ((4, 1), 2, 4, False),  # three others and two of ours
    ((3, 3), 2, 2, False),  # another team of this process runs
    ((1, 1), 4, 2, False),  # more threads than processors
]


@pytest.mark.parametrize(("counts", "threads", "processors", "expected"), ROOM)
def test_who_runs_decides(monkeypatch, counts, threads, processors, expected):
    monkeypatch.setattr(waiting_threads, "_running", lambda: counts[0])
    monkeypatch.setattr(waiting_threads, "_running_here", lambda: counts[1])
    monkeypatch.setattr(waiting_threads, "_quota", lambda: sys.maxsize)
    assert has_room(threads, processors) is expected


def test_a_container_may_use_fewer_processors(monkeypatch):
    monkeypatch.setattr(waiting_threads, "_running", lambda: 1)
    monkeypatch.setattr(waiting_threads, "_quota", lambda: 1)
    assert not has_room(2, 8)


def test_threads_of_this_process_are_counted():
    assert waiting_threads._running_here() >= 1


def test_a_policy_that_is_chosen_stays():
    plain, pinned, _ = run(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="2000")
    assert pinned < 4 * plain + 0.1  # both asleep
