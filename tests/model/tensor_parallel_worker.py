"""Run under torchrun by `test_two_devices`: each process loads its half and compares with one."""

import sys

import torch
import torch.distributed as dist
from transformers.distributed import DistributedConfig

from model import DvseForCausalLM


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    ids = torch.arange(2, 2 + 24).view(2, 12)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    for directory in sys.argv[1:]:
        # Experts are cut in two by tensor parallelism, or dealt out whole by expert parallelism.
        is_dealt = directory.endswith("?ep")
        directory = directory.removesuffix("?ep")
        config = DistributedConfig(tp_size=2, ep_size=2 if is_dealt else None)
        half = DvseForCausalLM.from_pretrained(directory, distributed_config=config).eval()
        whole = DvseForCausalLM.from_pretrained(directory).eval()
        local = sum(getattr(p, "_local_tensor", p).numel() for p in half.parameters())
        share = local / sum(p.numel() for p in whole.parameters())
        got = half(ids, attention_mask=mask).logits
        got = got.full_tensor() if hasattr(got, "full_tensor") else got
        error = float((got - whole(ids, attention_mask=mask).logits)[mask.bool()].abs().max())
        settings = {"attention_mask": mask, "max_new_tokens": 5, "do_sample": False}
        told = torch.equal(half.generate(ids, **settings), whole.generate(ids, **settings))
        if dist.get_rank() == 0:
            print(f"RESULT {error:.2e} {share:.3f} {told}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
