"""How the threads of an encoder wait for each other: asleep on a busy machine, whoever calls.

Between two operators the members of an OpenMP team spin for a moment, which is fast on a machine of
their own and ruinous on a busy one: they spin while the member that they wait for has no core (on
two busy cores 206 files took over 100 s instead of 7). The policy of OpenMP's environment is read
when torch is loaded, which is the caller's affair. But GNU OpenMP also lets members go to sleep at
once where all teams of a process have more members than it has processors. So while an encoder
runs on a machine that has not a free processor for each of its threads, a second team, asleep in a
thread of its own, makes it so. Where there is room they spin as they are: to be woken between any
two of a hundred small operators takes longer than the operators (a second of speech 3.7 ms instead
of 1.9, measured). What is computed is the same either way.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

_POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_NUMBERS_A_MEMBER = 1 << 15  # from so many on torch gives another member of a team some of them
_MOST_ASKED = 64  # threads of this process, 10 µs each


@contextmanager
def waiting_asleep(threads: int, num_processors: int) -> Iterator[None]:
    """Let the team of so many threads that computes meanwhile sleep where it waits.

    Does nothing where the environment says how to wait, where one thread computes alone, where
    processors for all of them are idle, and on systems whose OpenMP is another.

    >>> with waiting_asleep(2, num_processors=2):
    ...     pass
    """
    is_chosen = any(name in os.environ for name in _POLICIES)
    if threads == 1 or is_chosen or sys.platform != "linux" or has_room(threads, num_processors):
        yield
        return
    is_there, is_over = Event(), Event()
    num_sleepers = max(2, num_processors - threads + 2)
    sleeper = Thread(target=_sleep, args=(num_sleepers, is_there, is_over), daemon=True)
    sleeper.start()
    is_there.wait()
    try:
        yield
    finally:
        is_over.set()
        sleeper.join()


def has_room(threads: int, num_processors: int) -> bool:
    """Whether a team of so many threads finds an idle processor for each, as Linux says it now.

    Threads of this process that run count as members of the team, which may still spin, up to its
    size: more of them are somebody else's work.
    """
    num_processors = min(num_processors, _quota())
    if threads > num_processors:
        return False
    try:
        running = _running()
        if running <= 1:
            return True
        own = _running_here()
    except (OSError, ValueError, IndexError):
        return False
    return own is not None and running - own + max(own, threads) <= num_processors


def _running() -> int:
    """Threads of all processes that run or could."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])


def _running_here() -> int | None:
    """Threads of this process that run or could; `None` where it has too many to ask."""
    tasks = list(Path("/proc/self/task").iterdir())
    if len(tasks) > _MOST_ASKED:
        return None
    states = ((task / "stat").read_bytes() for task in tasks)
    return sum(state.rpartition(b")")[2].split()[:1] == [b"R"] for state in states)


def _quota() -> int:
    """Whole processors that a container may use at once, see cgroup-v2's `cpu.max`."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return sys.maxsize if quota == "max" else int(quota) // int(period)
    except (OSError, ValueError):
        return sys.maxsize


def _sleep(num_threads: int, is_there: Event, is_over: Event) -> None:
    import torch

    try:
        # A number that a thread sets is what new threads begin with: it is put back.
        before = torch.get_num_threads()
        torch.set_num_threads(num_threads)
        torch.zeros(num_threads * _NUMBERS_A_MEMBER).add_(1)
        torch.set_num_threads(before)
    finally:
        is_there.set()
    is_over.wait()
