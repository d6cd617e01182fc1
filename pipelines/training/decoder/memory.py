"""What a step of a decoder's training holds on each card, by part, before anything is loaded.

Weights, adapters, gradients and optimiser states are counted on the meta device from the very model
that would be trained. Activations are counted too, not estimated: one layer of it runs on tensors
without memory (`FakeTensorMode`), and what autograd keeps of it is added up.

    at rest          weights + adapters + optimiser
    forward's end    at rest + activations of all layers + logits (+ gradients kept from before)
    backward's end   at rest + gradients + what one layer takes

The larger of the two ends is the peak. Not in it: the runtime itself (a CUDA context takes about
0.5 GiB), kernels' own buffers, and what an allocator loses between blocks.
"""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dvse.errors import ConfigError
from model import DvseConfig, DvseForCausalLM
from pipelines.training.decoder.adapting import as_stored, let_learn, rounded, with_adapters
from pipelines.training.decoder.optimizers import library_of
from pipelines.training.decoder.recipe import DecoderRecipe, DecoderTraining

GIB = 1 << 30
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# A logit while its loss is differentiated: log-softmax, its gradient, its own gradient, in float32.
_LOSS_BYTES = 12
_MOST_TOO_HIGH = 1.2  # the count over what torch's allocator held, at most
# Optimisers that keep no two moments in the weights' own dtype: bytes a weight, from the libraries'
# own layouts (two moments of 8 or 4 bits and a float32 scale for each block of 256 or 128 values).
_OPTIMIZER_BYTES = {
    "adamw_bnb_8bit": 2 + 8 / 256,
    "paged_adamw_8bit": 2 + 8 / 256,
    "adamw_8bit": 2 + 8 / 256,
    "adamw_torch_8bit": 2 + 8 / 256,
    "adamw_torch_4bit": 1 + 8 / 128,
    "sgd": 0.0,
}
_SMALLEST_BLOCKED = 4096  # below, these keep float32 moments


@dataclass(frozen=True, kw_only=True)
class TrainingMemory:
    """Bytes on one card.

    Attributes:
        weights: of the decoder, gradients or not.
        adapters: beside it, with new rows of the embedding that learn.
        gradients: of all that learns.
        optimizer: what it keeps between steps.
        activations: that the backward pass needs of all layers.
        layer: what one layer takes while it runs backward: its own activations where they are
            computed again, and the gradients of its widest ones.
        logits: of the positions that have a label, with their loss.
        keeps_gradients: whether gradients of earlier batches wait during a forward pass.
    """

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    layer: int
    logits: int
    keeps_gradients: bool = False

    @property
    def peak(self) -> int:
        """Return the most that is held at once."""
        at_rest = self.weights + self.adapters + self.optimizer
        kept = self.gradients if self.keeps_gradients else 0
        forward = self.activations + self.logits + kept
        return at_rest + max(forward, self.gradients + self.layer)

    def check_room(self, card_bytes: int, settings: DecoderTraining) -> None:
        """Refuse what cannot fit, whatever the optimiser does with its moments.

        A sixth of the count is left out: by so much it was too high at most (`test_memory.py`).

        Raises:
            ConfigError: a step needs more than a card has.
        """
        least = round((self.peak - self.optimizer) / _MOST_TOO_HIGH)
        if least > card_bytes:
            raise ConfigError(
                f"batch_size = {settings.batch_size} and length = {settings.length} need at least "
                f"{_rounded(least).strip()} on each card, {_rounded(card_bytes).strip()} are "
                "there; choose a shorter length, fewer rows, activation_checkpointing, or bits of "
                "[adapters]"
            )

    def table(self, *, card_gib: float) -> str:
        """Return it as lines for a person, with what is left of a card."""
        parts = {
            "weights": self.weights,
            "adapters, new rows": self.adapters,
            "gradients": self.gradients,
            "optimiser": self.optimizer,
            "activations": self.activations,
            "one layer backward": self.layer,
            "logits and loss": self.logits,
        }
        lines = ["memory of a step on each card"]
        lines += [f"  {name:20} {_rounded(size)}" for name, size in parts.items() if size]
        left = card_gib * GIB - self.peak
        words = f"{_rounded(int(left)).strip()} of {card_gib:g} GiB left"
        if left < 0:
            words = f"{_rounded(int(-left)).strip()} more than the {card_gib:g} GiB of a card"
        lines.append(f"  {'at most at once':20} {_rounded(self.peak)}   {words}")
        return "\n".join(lines)


def training_memory(
    config: DvseConfig,
    recipe: DecoderRecipe,
    added: range,
    *,
    labelled_share: float = 1.0,
    num_cards: int = 1,
) -> TrainingMemory:
    """Return what a step of this recipe holds on each card.

    Args:
        config: of the decoder with its final vocabulary; nothing of it is loaded.
        recipe: what learns, and how.
        added: ids of new rows, see `new_ids`.
        labelled_share: of the positions that carry loss; all of them is the most there can be.
        num_cards: processes; with `sharding = "fsdp"` each holds its share of weights, gradients
            and moments (of adapters all), and for a moment the whole of tables and of two layers.

    Raises:
        ConfigError: a share outside 0 … 1, or targets of adapters that the decoder does not have.
    """
    if not 0 < labelled_share <= 1:
        raise ConfigError(f"expected a share of labels above 0 up to 1, received {labelled_share}")
    settings = recipe.training
    with torch.device("meta"):
        learner = _learner(config, recipe, added)
    learning = [p for p in learner.parameters() if p.requires_grad]
    # With adapters, what learns is all beside the decoder.
    beside: list[torch.Tensor] = []
    if recipe.adapters is not None:
        old_rows = [b for name, b in learner.named_buffers() if "trainable_tokens" in name]
        beside = [*learning, *old_rows]
    everything = sum(map(_bytes, (*learner.parameters(), *learner.buffers())))
    kept, layer = _activations(config, recipe, added)
    num_labelled = settings.batch_size * settings.length * labelled_share
    computed = _computed_in(config, recipe).itemsize
    logits = round(num_labelled * config.vocab_size * _LOSS_BYTES)
    if recipe.adapters is not None and recipe.adapters.new_rows:
        # PEFT puts a table together from old and new rows; a tied head keeps it until the gradient
        # of the whole table has been cut down to that of the new rows.
        table = config.vocab_size * config.hidden_size * computed
        logits += table if config.tie_word_embeddings else 0
        layer += 2 * table
    memory = TrainingMemory(
        weights=everything - sum(map(_bytes, beside)),
        adapters=sum(map(_bytes, beside)),
        gradients=sum(map(_bytes, learning)),
        optimizer=_optimizer_bytes(learner, learning, settings.optimizer),
        activations=kept,
        layer=layer,
        logits=logits,
        keeps_gradients=settings.accumulation > 1,
    )
    if recipe.training.sharding == "none" or num_cards == 1:
        return memory
    cut = [p for p in learner.parameters() if recipe.adapters is None or not p.requires_grad]
    return _cut(memory, sum(map(_bytes, cut)), config, recipe, num_cards)


def _cut(
    memory: TrainingMemory, size: int, config: DvseConfig, recipe: DecoderRecipe, num_cards: int
) -> TrainingMemory:
    """Return what is left on each of so many cards that hold shares of weights of this size."""
    whole = size // (config.num_hidden_layers + 1)  # about a layer's
    table = config.vocab_size * config.hidden_size * _stored_in(config, recipe).itemsize
    share = -(-size // num_cards) + 2 * whole + table
    if recipe.adapters is not None:  # both tables stay while a step lasts; adapters are not cut
        more = 0 if config.tie_word_embeddings else table
        return replace(memory, weights=memory.weights - size + share + more)
    return replace(
        memory,
        weights=share,
        gradients=-(-memory.gradients // num_cards),
        optimizer=-(-memory.optimizer // num_cards),
    )


def _learner(config: DvseConfig, recipe: DecoderRecipe, added: range) -> nn.Module:
    """Return the model that would be trained, with weights on the device of the context."""
    dtype = _stored_in(config, recipe)
    decoder = DvseForCausalLM._from_config(copy.deepcopy(config), dtype=dtype)  # it is written to
    decoder = as_stored(decoder, config).train()
    let_learn(decoder, recipe.training, added)
    if recipe.adapters is None:
        return decoder
    decoder = rounded(decoder, recipe.adapters).train()
    return with_adapters(decoder, recipe.adapters, added)


def _activations(config: DvseConfig, recipe: DecoderRecipe, added: range) -> tuple[int, int]:
    """Return what all layers keep for the backward pass, and what one takes while it runs it."""
    settings = recipe.training
    rows = settings.batch_size * settings.length
    states = rows * config.hidden_size * _computed_in(config, recipe).itemsize
    bottom = _kept(config, recipe, added, num_layers=0)
    dense = experts = 0
    num_experts = sum(config.is_expert_layer(i) for i in range(config.num_hidden_layers))
    if num_experts < config.num_hidden_layers:
        dense = _kept(_dense(config, config.intermediate_size), recipe, added, 1) - bottom
    if num_experts:
        per_token = config.num_experts_per_tok
        width = config.moe_intermediate_size * (per_token + config.n_shared_experts)
        # The experts of a token are one wide FFN; its rows are gathered, and weighted one by one.
        experts = _kept(_dense(config, width), recipe, added, 1) - bottom + 2 * per_token * states
    whole = bottom + num_experts * experts + (config.num_hidden_layers - num_experts) * dense
    one = max(dense, experts)
    if not settings.activation_checkpointing:
        return whole, one // 2
    return bottom + config.num_hidden_layers * states, one + one // 2


def _dense(config: DvseConfig, width: int) -> DvseConfig:
    fields = {**config.to_dict(), "n_routed_experts": None, "intermediate_size": width}
    return DvseConfig(**fields)


def _kept(config: DvseConfig, recipe: DecoderRecipe, added: range, num_layers: int) -> int:
    """Bytes that autograd keeps of a forward pass, weights apart, of a decoder so deep."""
    settings = recipe.training
    fields = {**config.to_dict(), "num_hidden_layers": max(1, num_layers), "gate_thresholds": None}
    shallow = DvseConfig(**fields)
    with torch.device("meta"):
        learner: Any = _learner(shallow, recipe, added)
    with FakeTensorMode():
        _come_into_being(learner)
        decoder = learner.get_base_model() if hasattr(learner, "peft_config") else learner
        decoder.config.num_hidden_layers = num_layers
        ids = torch.zeros(settings.batch_size, settings.length, dtype=torch.long)
        places = torch.arange(settings.length).expand_as(ids)
        weights = [*learner.parameters(), *learner.buffers()]
        with _counting({t.untyped_storage()._cdata for t in weights}) as count, _autocast(settings):
            decoder.model(input_ids=ids, position_ids=places, use_cache=False)
    return sum(count.values())


def _come_into_being(learner: nn.Module) -> None:
    """Move a model from the meta device to a CPU without memory, whose kernels autograd knows."""
    for module in learner.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                module._parameters[name] = nn.Parameter(empty, weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


@contextlib.contextmanager
def _counting(weights: set[int]) -> Iterator[dict[int, int]]:
    """Yield sizes of the storages that autograd keeps inside the block, weights apart."""
    found: dict[int, int] = {}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            found[storage._cdata] = storage.nbytes()
            alive.append(storage)  # so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


def _autocast(settings: Any) -> Any:
    dtype = _DTYPES[settings.precision]
    if dtype is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast("cpu", dtype)


def _stored_in(config: DvseConfig, recipe: DecoderRecipe) -> torch.dtype:
    """The dtype that weights are loaded in, see `start`: as stored, or float32 without a start."""
    wanted: Any = recipe.model.get("dtype", "auto")
    if "checkpoint" not in recipe.model:
        return torch.float32
    found = config.dtype if wanted == "auto" else getattr(torch, str(wanted), None)
    if found is None and wanted == "auto":
        return torch.float32
    if not isinstance(found, torch.dtype):
        raise ConfigError(f"[model] dtype: expected one of torch, such as bfloat16, got {wanted!r}")
    return found


def _computed_in(config: DvseConfig, recipe: DecoderRecipe) -> torch.dtype:
    if recipe.training.precision == "fp32":
        return _stored_in(config, recipe)
    return _DTYPES[recipe.training.precision]


def _optimizer_bytes(learner: nn.Module, learning: list[nn.Parameter], name: str) -> int:
    """Bytes of all moments; of tables transformers lets bitsandbytes keep them in float32."""
    tables = [m.weight for m in learner.modules() if isinstance(m, nn.Embedding)]
    exempt = {id(table) for table in tables if library_of(name) == "bitsandbytes"}
    return sum(8 * p.numel() if id(p) in exempt else _moment_bytes(p, name) for p in learning)


def _moment_bytes(weight: torch.Tensor, name: str) -> int:
    if name in _OPTIMIZER_BYTES and (weight.numel() >= _SMALLEST_BLOCKED or name == "sgd"):
        return round(weight.numel() * _OPTIMIZER_BYTES[name])
    if name in _OPTIMIZER_BYTES:
        return 8 * weight.numel()
    return 2 * _bytes(weight)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _rounded(size: int) -> str:
    return f"{size / GIB:9.2f} GiB" if size >= GIB // 10 else f"{size / 2**20:9.2f} MiB"
