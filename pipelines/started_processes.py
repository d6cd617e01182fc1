"""Joins the processes that `torchrun` started; without it there is one, and nothing to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
    import torch
    import torch.distributed as dist

    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()
