"""Whether a model and its cache have room, told before weights are read instead of by a crash.

Each process holds its share of the weights and of the cache; what is left over is the cache's where
`--cache-gib auto` asks for it, less what the steps themselves need.
"""

from pathlib import Path

import torch

from dvse.errors import ConfigError
from dvse.storage.finding import SHIPPED
from pipelines.answering.model_folders import find_model
from pipelines.answering.room import GIB, available_bytes, gib, weight_bytes
from pipelines.runs.processes import device_of_process
from pipelines.server.settings import AUTO, LoadingConfig

_RESERVE_CUDA = 3 * GIB // 2  # the runtime and a step's activations, as in `model.card`
_SHARE_CPU = 0.5  # other programs live here, too


def weight_bytes_of(config: LoadingConfig) -> int:
    """Return the bytes of a model's files of weights; 0 where it is not on this machine yet."""
    if not (Path(config.model).is_dir() or (SHIPPED / config.model).is_dir()):
        return 0
    decoder = find_model(config.model).decoder
    encoders = sum(file.stat().st_size for file in decoder.glob("*/**/*.safetensors"))
    return weight_bytes(decoder, config.dtype) + encoders


def cache_bytes(config: LoadingConfig) -> int:
    """Return the bytes of a process's cache; of `auto`, all that is left beside the weights.

    Raises:
        ConfigError: weights and cache need more than there is.
    """
    free, reserve = free_bytes(config.device, num_processes=config.tensor_parallel)
    weights = weight_bytes_of(config) // config.tensor_parallel
    left = free - reserve - weights
    asked = config.limits.cache_gib
    wanted = max(left, 0) if asked == AUTO else int(float(asked) * GIB)
    if weights + wanted + reserve > free or left <= 0:
        least = "" if asked == AUTO else f" and {gib(wanted)} for the cache"
        raise ConfigError(
            f"{config.model}: needs {gib(weights)} for weights{least} a process, {gib(free)} "
            f"less {gib(reserve)} for everything else are free; lower --cache-gib, give more "
            "processes with --tensor-parallel, or quantize"
        )
    return wanted


def free_bytes(device: str, *, num_processes: int = 1) -> tuple[int, int]:
    """Return what a process may take, and how much of it is to be kept free.

    Of a GPU its free memory; of this machine, what all processes of the model share.

    Raises:
        ConfigError: no such GPU.
    """
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ConfigError(f"device {device}: torch finds no CUDA device here; use cpu")
        return torch.cuda.mem_get_info(device_of_process(device))[0], _RESERVE_CUDA
    available = available_bytes() // num_processes
    return available, int(available * (1 - _SHARE_CPU))
