"""Which threads of a server compute with all cores: one.

OpenMP gives every thread that computes a team of its own, for as long as that thread lives. Where
all teams together have more members than the machine has cores, a member that waits for the next
operator goes to sleep instead of spinning for a moment, and small operators cost a wake-up each: a
step of the batcher then takes 2.4 times as long. So loading happens in a thread that ends, media
are encoded by threads that compute alone, and the batcher has the cores.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Result = TypeVar("_Result")
_NUM_THREADS = torch.get_num_threads()


def compute_with_all_cores() -> None:
    """Let the calling thread have a team."""
    _set_num_threads(_NUM_THREADS)


def compute_alone() -> None:
    """Let the calling thread never have a team."""
    _set_num_threads(1)


def run_in_passing(call: Callable[[], _Result]) -> _Result:
    """Return what `call` gives in a thread that ends with it, and its team with it."""

    def run() -> _Result:
        compute_with_all_cores()
        return call()

    with ThreadPoolExecutor(1, thread_name_prefix="passing") as pool:
        return pool.submit(run).result()


def _set_num_threads(number: int) -> None:
    # At its first operator a thread takes over whatever number any thread has set last; asking for
    # the number is that first time, and what is set afterwards stays.
    torch.get_num_threads()
    torch.set_num_threads(number)
