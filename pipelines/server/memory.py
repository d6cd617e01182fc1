"""Whether a model and its cache have room, told before weights are read instead of by a crash.

Each process holds its share of the weights and of the cache; what is left over is the cache's where
`--cache-gib auto` asks for it, less what the steps themselves need.
"""

import os
from pathlib import Path
from typing import Any

import torch

from dvse.errors import ConfigError
from dvse.storage.finding import SHIPPED
from pipelines.answering.model_directory import find_model
from pipelines.runs.processes import device_of_process
from pipelines.server.settings import AUTO, LoadingConfig

_GIB = 1 << 30
_RESERVE_CUDA = 3 * _GIB // 2  # the runtime and a step's activations, as in `model.card`
_SHARE_CPU = 0.5  # other programs live here, too


def weight_bytes_of(config: LoadingConfig) -> int:
    """Return the bytes of a model's files of weights; 0 where it is not on this machine yet."""
    if not (Path(config.model).is_dir() or (SHIPPED / config.model).is_dir()):
        return 0
    folders = find_model(config.model)
    return sum(file.stat().st_size for file in folders.decoder.rglob("*.safetensors"))


def cache_bytes(config: LoadingConfig) -> int:
    """Return the bytes of a process's cache; of `auto`, all that is left beside the weights.

    Raises:
        ConfigError: weights and cache need more than there is.
    """
    free, reserve = free_bytes(config.device, num_processes=config.tensor_parallel)
    weights = weight_bytes_of(config) // config.tensor_parallel
    left = free - reserve - weights
    asked = config.limits.cache_gib
    wanted = max(left, 0) if asked == AUTO else int(float(asked) * _GIB)
    if weights + wanted + reserve > free or left <= 0:
        least = "" if asked == AUTO else f" and {_gib(wanted)} for the cache"
        raise ConfigError(
            f"{config.model}: needs {_gib(weights)} for weights{least} a process, {_gib(free)} "
            f"less {_gib(reserve)} for everything else are free; lower --cache-gib, give more "
            "processes with --tensor-parallel, or quantize"
        )
    return wanted


def free_bytes(device: str, *, num_processes: int = 1) -> tuple[int, int]:
    """Return what a process may take, and how much of it is to be kept free.

    Of a GPU its free memory; of this machine, what all processes of the model share.
    """
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device_of_process(device))[0], _RESERVE_CUDA
    available = _available_here() // num_processes
    return available, int(available * (1 - _SHARE_CPU))


def _available_here() -> int:
    """Return what programs can have without swapping; Linux says it, others their page count."""
    path = Path("/proc/meminfo")
    if path.is_file():
        fields: Any = dict(line.split(":", 1) for line in path.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f} GiB"
