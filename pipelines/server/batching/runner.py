"""Runs the steps of a plan: the only file of the batcher that calls the model."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from pipelines.server.batching.packed_cache import ATTENTION_NAME, PackedCache, packed_attention
from pipelines.server.batching.row_block import find_row_block
from pipelines.server.batching.step_plan import StepPlan, Watch

if TYPE_CHECKING:
    from model import DvseForCausalLM
    from model.plain.decoder import PlainDecoder

_DEFAULT_BLOCK = 8


class Runner(ABC):
    """Does what a `StepPlan` says.

    Attributes:
        device: where the logits are.
    """

    device: torch.device

    @abstractmethod
    def step(self, plan: StepPlan) -> torch.Tensor:
        """Return the logits of the rows that are kept, fp32 `[kept, vocab_size]`."""

    @abstractmethod
    def states(self, plan: StepPlan) -> torch.Tensor:
        """Return the last hidden states of all rows, fp32 `[rows, hidden_size]`."""

    @abstractmethod
    def attention(self, plan: StepPlan, watch: Watch) -> torch.Tensor:
        """Run a plan of one run, and return how much its last rows look at some positions.

        Returns:
            fp32 `[rows from watch.first_row on, watch.seen]`, mean over the heads of the last half
            of the layers.
        """

    def close(self) -> None:
        """Let others that work along go; alone, there is nothing to do."""
        return


class LocalRunner(Runner):
    """Runs the model in this process.

    The cache's first places belong to nobody: rows that fill a step up are written there.

    Args:
        model: set to packed attention here; nothing else may use it meanwhile.
        cache_tokens: tokens that the cache holds.

    Attributes:
        row_block: rows of a step are a multiple of it, see `row_block`.
        is_steady: whether an answer's bits are known not to depend on the rest of the batch.
    """

    NUM_SCRATCH = 1

    def __init__(self, model: "DvseForCausalLM | PlainDecoder", *, cache_tokens: int) -> None:
        self._model = model.eval()
        found = find_row_block(model)
        self.row_block, self.is_steady = found or _DEFAULT_BLOCK, found is not None
        config = model.config
        layer: Any = model.model.layers[0]
        weight = layer.self_attn.k_proj.weight
        # Under tensor parallelism: this device's part of it.
        local = weight.to_local() if hasattr(weight, "to_local") else weight
        self.device = local.device
        self._cache = PackedCache(
            num_layers=config.num_hidden_layers,
            kv_heads=local.shape[0] // config.head_dim,
            head_dim=config.head_dim,
            num_tokens=cache_tokens + self.NUM_SCRATCH,
            dtype=model.dtype,
            device=local.device,
        )
        model.attend_with(ATTENTION_NAME, packed_attention)

    @torch.inference_mode()
    def step(self, plan: StepPlan) -> torch.Tensor:
        """Run the rows of a step side by side, filled up to the block."""
        self._cache.copy(plan.copies)
        if not plan.ids:
            return torch.zeros(0, 1)
        kept = plan.kept or [0]
        kept = kept + kept[-1:] * (-len(kept) % self.row_block)
        found = self._run(self._model, plan, logits_to_keep=self._tensor(kept))
        logits = _whole(found.logits)
        return logits[0, : len(plan.kept)].float()

    @torch.inference_mode()
    def states(self, plan: StepPlan) -> torch.Tensor:
        """Return the last hidden states, without the rows that fill up the block."""
        states = _whole(self._run(self._model.model, plan).last_hidden_state)
        return states[0, : len(plan.ids)].float()

    @torch.inference_mode()
    def attention(self, plan: StepPlan, watch: Watch) -> torch.Tensor:
        """Return what the heads of this process look at."""
        self._cache.watch(watch)
        self._run(self._model.model, plan)
        return self._cache.watched()

    def _run(self, module: Any, plan: StepPlan, **more: Any) -> Any:
        fill = [0] * (-len(plan.ids) % self.row_block)
        ids, positions, places = self._tensor(
            [[*plan.ids, *fill], [*plan.positions, *fill], [*plan.places, *fill]]
        )
        self._cache.open_step(places, plan.runs)
        return module(
            input_ids=ids[None],
            position_ids=positions[None],
            past_key_values=self._cache,
            use_cache=True,
            packed_cache=self._cache,
            **more,
        )

    def _tensor(self, values: list) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)


def _whole(array: Any) -> torch.Tensor:
    """Put an array that is spread over devices together."""
    return array.full_tensor() if hasattr(array, "full_tensor") else array
