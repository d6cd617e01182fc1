"""Shares of a decoder over the processes of a training: cut before it, put together after it.

    all weights learn        each process reads its share of every weight (transformers' loading)
    adapters learn           the decoder's own weights are cut, the adapters are whole in each

Cut is what is a parameter: integers of a decoder in few bits are buffers, whole in each process.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from model import DvseForCausalLM
from pipelines.runs.processes import Processes, device_of_process

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def share_of(folder: Path) -> DvseForCausalLM:
    """Load this process's share of a decoder whose weights all learn."""
    from transformers.distributed import DistributedConfig

    share = DistributedConfig(fsdp_size=Processes().count)
    return DvseForCausalLM.from_pretrained(folder, distributed_config=share).train()


def cut_beside_adapters(learner: Any) -> Any:
    """Leave this process its share of the weights that stay; return the learner.

    Args:
        learner: a decoder under adapters of PEFT.

    Source: Zhao et al., 2023, "PyTorch FSDP"; torch's `fully_shard` cuts each weight for itself.
    """
    from torch.distributed.fsdp import fully_shard
    from transformers.distributed import DistributedConfig

    mesh, decoder = _mesh(), learner.get_base_model()
    whole = {p for p in learner.parameters() if p.requires_grad}
    for weight in whole:
        weight.data = weight.data.to(device_of_process(mesh.device_type))
    for layer in decoder.model.layers:
        fully_shard(layer, mesh=mesh, ignored_params=whole)
    fully_shard(learner, mesh=mesh, ignored_params=whole, reshard_after_forward=False)
    # By this the Trainer knows not to wrap or cut it once more, and to keep the adapters alike.
    learner.is_distributed_loading_by_transformers = learner._is_fsdp_managed_module = True
    decoder.config.distributed_config = DistributedConfig(fsdp_size=Processes().count)
    return learner


def is_cut(learner: Any) -> bool:
    """Whether each process has a share of this learner alone."""
    return bool(getattr(learner, "is_distributed_loading_by_transformers", False))


def put_together(learner: Any, draft: Path) -> DvseForCausalLM | None:
    """Return the decoder that the processes have shares of, in the first one; `None` in others.

    Args:
        learner: what `share_of` gave.
        draft: a folder for the time of it.
    """
    learner.save_pretrained(draft)  # all processes give their shares
    if Processes().rank != 0:
        return None
    whole: DvseForCausalLM = DvseForCausalLM.from_pretrained(draft)
    shutil.rmtree(draft)
    return whole


@torch.no_grad()
def with_what_was_learnt(whole: nn.Module, learner: nn.Module) -> nn.Module:
    """Return a whole decoder under new adapters, after it took those of a cut one.

    Args:
        whole: as the learner was before it was cut.
        learner: what `cut_beside_adapters` gave.
    """
    learnt = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    for name, weight in whole.named_parameters():
        if name in learnt:
            weight.copy_(learnt[name])
    return whole


def _mesh() -> "DeviceMesh":
    from torch.distributed.device_mesh import init_device_mesh

    kind = "cuda" if torch.cuda.is_available() else "cpu"
    return init_device_mesh(kind, (Processes().count,))
