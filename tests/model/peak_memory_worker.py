"""Run under torchrun by `test_share_reading`: how far a rank's peak of memory grows by a load."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from transformers.distributed import DistributedConfig
from transformers.distributed.sharding_utils import DtensorShardOperation

from model import DvseConfig, DvseForCausalLM


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    folder = Path(sys.argv[1])
    if dist.get_rank() == 0:
        small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1}
        config = DvseConfig(vocab_size=128, pad_token_id=0, eos_token_id=1, **small)
        DvseForCausalLM(config).save_pretrained(folder / "small")
    dist.barrier()
    how = {"distributed_config": DistributedConfig(tp_size=2)}
    DvseForCausalLM.from_pretrained(folder / "small", **how)  # what libraries take once
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    model = DvseForCausalLM.from_pretrained(folder / "large", **how)
    growth = _memory("VmHWM") - before
    parts = {name: getattr(p, "_local_tensor", p) for name, p in model.named_parameters()}
    part = sum(tensor.nbytes for tensor in parts.values())
    print(f"RESULT {part} {growth} {_as_transformers_cuts(folder / 'large', model)}", flush=True)
    dist.destroy_process_group()


def _as_transformers_cuts(folder: Path, model: DvseForCausalLM) -> bool:
    """Whether each part holds the bits that transformers cuts out of the mapped file."""
    parameters = dict(model.named_parameters())
    is_same = True
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                found = parameters.pop(name)
                if hasattr(found, "placements"):
                    expected = DtensorShardOperation(found).shard_tensor(tensors.get_slice(name))
                    is_same &= torch.equal(found.to_local(), expected)
                else:
                    is_same &= torch.equal(found, tensors.get_tensor(name))
    return is_same and not parameters


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


if __name__ == "__main__":
    main()
