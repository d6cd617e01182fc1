"""Run under torchrun by `bench_model`: seconds until a cold checkpoint is in two processes."""

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from transformers.distributed import DistributedConfig

from model import DvseForCausalLM, pretrained

_ROUNDS = 5


def main() -> None:
    """Time our reader, transformers' mapped one and plain reads in turn; rank 0 prints them."""
    dist.init_process_group("gloo")
    files = sorted(Path(sys.argv[1]).glob("*.safetensors"))
    ways = {"ours": _load, "mapped": _load_mapped, "plain": lambda: _read_plainly(files)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(_ROUNDS + 1):
        for name, way in ways.items():
            taken = _timed(way, files)
            if number:  # the first round imports
                seconds[name].append(taken)
    if dist.get_rank() == 0:
        print("RESULT", json.dumps(list(seconds.values())), flush=True)
    dist.destroy_process_group()


def _timed(way: Callable[[], object], files: list[Path]) -> float:
    gc.collect()  # pages that a model of before still maps would stay in memory
    dist.barrier()
    if dist.get_rank() == 0:
        for file in files:
            number = os.open(file, os.O_RDONLY)
            os.fsync(number)
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(number)
    dist.barrier()
    start = time.perf_counter()
    way()
    dist.barrier()
    return time.perf_counter() - start


@torch.no_grad()
def _load() -> None:
    how = {"distributed_config": DistributedConfig(tp_size=2)}
    model = DvseForCausalLM.from_pretrained(sys.argv[1], **how)
    for parameter in model.parameters():  # mapped ones are only read by this
        getattr(parameter, "_local_tensor", parameter).flatten()[::2048].sum()


def _load_mapped() -> None:
    kept = pretrained.DvsePreTrainedModel.__dict__["_load_pretrained_model"]
    del pretrained.DvsePreTrainedModel._load_pretrained_model
    try:
        _load()
    finally:
        pretrained.DvsePreTrainedModel._load_pretrained_model = kept


def _read_plainly(files: list[Path]) -> None:
    """One process reads the files from end to end, as `dd bs=8M` does."""
    if dist.get_rank() != 0:
        return
    buffer = bytearray(8 << 20)
    for file in files:
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass


if __name__ == "__main__":
    main()
