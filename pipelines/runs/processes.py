"""The processes of one run: joined where `torchrun` started several, and added up over all.

Without `torch.distributed` there is one process, and every call gives back what it was given.
Rows of process i follow those of process i - 1.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dvse.errors import ConfigError


@contextmanager
def started_processes(device: str) -> Iterator[bool]:
    """Join the others for the time of a `with` block; yield whether this is the first process.

    Raises:
        ConfigError: several processes that are told to share one GPU.

    >>> with started_processes("cpu") as is_first:
    ...     is_first
    True
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield True
        return
    if device.startswith("cuda:"):
        raise ConfigError(f"expected device cuda or cpu with {count} processes, received {device}")
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


class Processes:
    """The process that runs this, among the others.

    Attributes:
        rank: 0 … count-1.
        count: how many there are.

    >>> alone = Processes()
    >>> alone.place(7)
    (0, 7)
    """

    def __init__(self) -> None:
        self._is_together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if self._is_together else 0
        self.count = dist.get_world_size() if self._is_together else 1

    def add_up(self, tensor: Tensor) -> Tensor:
        """Return the sum over all processes, in place, the same bits in each."""
        if self._is_together:
            dist.all_reduce(tensor)
        return tensor

    def place(self, num_rows: int) -> tuple[int, int]:
        """Return where this process's rows begin among all rows, and how many there are in all."""
        counts = [int(n) for n in self._all(num_rows)]
        return sum(counts[: self.rank]), sum(counts)

    def together(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in order, in each of them."""
        start, total = self.place(len(rows))
        if not self._is_together:
            return rows
        everything = rows.new_zeros(total, rows.shape[1])
        everything[start : start + len(rows)] = rows
        return self.add_up(everything)

    def from_first(self, value: Any) -> Any:
        """Return what the first process passed."""
        if not self._is_together:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def _all(self, value: Any) -> list[Any]:
        values: list[Any] = [value]
        if self._is_together:
            values = [None] * self.count
            dist.all_gather_object(values, value)
        return values


def device_of_process(device: str) -> torch.device:
    """Return the device to compute on; `cuda` is the GPU of this process's local rank."""
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device(device)


def card_bytes() -> int:
    """Return the memory of the device that this process computes on; of a CPU, the machine's."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(device_of_process("cuda")).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
