"""How the threads of an encoder wait for each other: asleep, not spinning, whoever calls.

Between two operators the members of an OpenMP team spin for a moment, which is fast on a machine of
their own and ruinous on a busy one: they spin while the member that they wait for has no core (on
two busy cores 206 files took over 100 s instead of 7). The policy of OpenMP's environment is read
when torch is loaded, which is the caller's affair. But GNU OpenMP also lets members go to sleep at
once where all teams of a process have more members than it has processors. So while an encoder
runs, a second team, asleep in a thread of its own, makes it so.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

_POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_NUMBERS_A_MEMBER = 1 << 15  # from so many on torch gives another member of a team some of them


@contextmanager
def waiting_asleep(threads: int, num_processors: int) -> Iterator[None]:
    """Let the team of so many threads that computes meanwhile sleep where it waits.

    Does nothing where the environment says how to wait, where one thread computes alone, and on
    systems whose OpenMP is another.

    >>> with waiting_asleep(2, num_processors=2):
    ...     pass
    """
    is_chosen = any(name in os.environ for name in _POLICIES)
    if threads == 1 or is_chosen or sys.platform != "linux":
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
