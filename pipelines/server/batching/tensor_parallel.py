"""One model over several processes, each with its share of the heads: rank 0 leads, others follow.

The leader plans, samples and answers; a plan is a few integers, which it sends to the others before
each step. Started by torchrun (see `run_dvse_server.sh`); the model's own plan says which weights
are split, the cache is split by key/value heads with them.
"""

import os
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from dvse.errors import ConfigError
from pipelines.server.batching.runner import LocalRunner, Runner
from pipelines.server.batching.step_plan import StepPlan, Watch

if TYPE_CHECKING:
    from model import DvseForCausalLM


class LeadingRunner(Runner):
    """Runs a step here and on all followers."""

    def __init__(self, local: LocalRunner) -> None:
        self._local = local
        self._group = _plan_group()
        self.device = local.device

    def step(self, plan: StepPlan) -> torch.Tensor:
        """Send the plan to the followers and run it here."""
        self._tell("step", plan)
        return self._local.step(plan)

    def states(self, plan: StepPlan) -> torch.Tensor:
        """Return the states, which every process has whole."""
        self._tell("states", plan)
        return self._local.states(plan)

    def attention(self, plan: StepPlan, watch: Watch) -> torch.Tensor:
        """Return the mean over the heads of all processes."""
        self._tell("attention", plan, watch)
        return _over_all(self._local.attention(plan, watch), self._group)

    def close(self) -> None:
        """Let the followers return."""
        self._tell()

    def _tell(self, *work: Any) -> None:
        dist.broadcast_object_list([work], src=0, group=self._group)


def follow(local: LocalRunner) -> None:
    """Do what the leader does, until it closes."""
    group = _plan_group()
    while True:
        received: list[Any] = [None]
        dist.broadcast_object_list(received, src=0, group=group)
        match received[0]:
            case ():
                return
            case ("step", plan):
                local.step(plan)
            case ("states", plan):
                local.states(plan)
            case ("attention", plan, watch):
                _over_all(local.attention(plan, watch), group)


def load_split(folder: str, *, num_processes: int, dtype: "torch.dtype | str") -> "DvseForCausalLM":
    """Load this process's share of a decoder.

    Raises:
        ConfigError: another number of processes was started, heads that do not divide, or
            quantized weights.
    """
    from transformers.distributed import DistributedConfig

    from model import DvseForCausalLM

    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != num_processes:
        raise ConfigError(
            f"--tensor-parallel {num_processes}: expected as many processes, {started} were "
            f"started; use torchrun --nproc-per-node {num_processes}"
        )
    check_split(folder, num_processes)
    model = DvseForCausalLM.from_pretrained(
        folder, dtype=dtype, distributed_config=DistributedConfig(tp_size=num_processes)
    )
    return model.eval()


def check_split(folder: str, num_processes: int) -> None:
    """Refuse, before anything is started or read, a decoder that cannot be split so.

    Raises:
        ConfigError: heads that do not divide, or quantized weights.
    """
    from model import DvseConfig

    config = DvseConfig.from_pretrained(folder)
    if getattr(config, "quantization_config", None) is not None:
        raise ConfigError(
            f"{folder}: its weights are quantized, and these are not split; serve the decoder that "
            "it was made from, or this one by one process"
        )
    heads = config.num_key_value_heads
    if heads % num_processes:
        raise ConfigError(
            f"--tensor-parallel {num_processes}: expected a number that divides the model's "
            f"{heads} key/value heads"
        )


def _over_all(part: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """The mean of the processes' means: each has as many heads."""
    total = part.cpu()
    dist.all_reduce(total, group=group)
    return total / dist.get_world_size(group)


def _plan_group() -> dist.ProcessGroup:
    """Plans travel over the CPU, whatever the model's own group uses."""
    group = dist.new_group(backend="gloo")
    assert isinstance(group, dist.ProcessGroup)
    return group
