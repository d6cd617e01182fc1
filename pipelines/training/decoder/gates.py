"""Gates for a decoder that was trained without: add, train with a budget, calibrate, compare.

    dense ─ fit ─► gated ─ train ─► gated ─ calibrate on one part ─► thresholds
      └──── train as long ─► dense ──── loss of answers on another part ────┘

The dense decoder is trained for as many more steps as the gated one, so that the gates are not
given credit for these. Knows token shards, nothing of what they are about.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dvse.dataset.token_dataset import TokenDataset
from dvse.remote.remote_path import Location
from dvse.storage.shard import find_shards, read_shard
from dvse.tokenizer import Tokenizer
from model import DvseForCausalLM, calibrate_gates, fit_gates, forward_flops
from model.evaluation import evaluating
from model.sizes import ffn_flops
from pipelines.training.decoder.loop import train_decoder
from pipelines.training.decoder.recipe import DecoderRecipe

_NUM_DOCUMENTS = 256
_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class GateFigures:
    """What gates cost and save.

    Attributes:
        loss_before: mean loss of a token of an answer, of the decoder as it was.
        loss_dense: after the same number of further steps without gates.
        loss_gated: with trained gates at their calibrated thresholds.
        saving: share of a forward pass's FLOPs that closed gates skip, on the calibration part.
        open_share: share of tokens whose gate is open there, one number a layer.
        num_steps: of further training.
    """

    loss_before: float
    loss_dense: float
    loss_gated: float
    saving: float
    open_share: tuple[float, ...]
    num_steps: int

    @property
    def cost(self) -> float:
        """By how much the loss grows, relative to the better one without gates; 0.01 is 1 %."""
        return self.loss_gated / min(self.loss_before, self.loss_dense) - 1

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {**asdict(self), "open_share": list(self.open_share), "cost": self.cost}


@dataclass(frozen=True, kw_only=True)
class Gated:
    """A decoder with calibrated gates, and its figures."""

    decoder: DvseForCausalLM
    figures: GateFigures


def gate_decoder(
    decoder_folder: Path,
    tokenizer: Tokenizer,
    shards: Path,
    held_out: Path,
    recipe: DecoderRecipe,
    folder: Path,
    *,
    saving: float = 0.18,
) -> Gated:
    """Give a trained decoder gates that skip `saving` of its arithmetic.

    Args:
        decoder_folder: a model directory, without gates.
        tokenizer: of its bundle.
        shards: to train on, and to calibrate on.
        held_out: shards that losses are reported on.
        recipe: of the further steps; its shape is not used.
        folder: where logs and checkpoints of both runs go.
        saving: share of all FLOPs of a forward pass, head included.

    Raises:
        CalibrationError: more than all FFNs together take.
        TrainingError, ShardError: see `train_decoder`.
    """
    dense = _load(decoder_folder)
    loss_before = answer_loss(dense, held_out, recipe)
    train_decoder(dense, tokenizer, shards, recipe, folder / "dense", resume=True)
    documents = list(_documents(shards, tokenizer.vocabulary.pad_id))
    length = sum(int(d["attention_mask"].sum()) for d in documents) / _num_rows(documents)
    gated = _load(decoder_folder, use_token_gate=True)
    gated.config.gate_target_share = _open_share(gated, saving, round(length))
    fit_gates(gated, documents)
    # Fitting leaves gates scattered about 0 over all layers; the open share is then about a half.
    train_decoder(gated, tokenizer, shards, recipe, folder / "gated", resume=True)
    found = calibrate_gates(gated, documents, saving)
    return Gated(
        decoder=gated,
        figures=GateFigures(
            loss_before=loss_before,
            loss_dense=answer_loss(dense, held_out, recipe),
            loss_gated=answer_loss(gated, held_out, recipe),
            saving=found.saving,
            open_share=found.open_share,
            num_steps=recipe.training.max_steps,
        ),
    )


def brief(recipe: DecoderRecipe, *, num_steps: int, learning_rate: float) -> DecoderRecipe:
    """Return a recipe for `num_steps` more at a lower rate, its other settings kept."""
    training = replace(
        recipe.training,
        max_steps=num_steps,
        learning_rate=learning_rate,
        warmup_steps=min(20, num_steps),
        save_every=num_steps,
        seed=recipe.training.seed + 1,
    )
    return replace(recipe, training=training)


@torch.no_grad()
def answer_loss(decoder: DvseForCausalLM, shards: Path, recipe: DecoderRecipe) -> float:
    """Return the mean loss of a token that carries loss, over all of `shards`, in nats."""
    settings = recipe.training
    dataset = TokenDataset(
        shards,
        batch_size=settings.batch_size,
        length=settings.length,
        shuffle=False,
        keep_whole=True,
    )
    total, count = 0.0, 0
    with evaluating(decoder):
        for batch in dataset:
            num_labels = int((batch.labels[:, 1:] >= 0).sum())
            if num_labels == 0:
                continue
            output = decoder(
                batch.input_ids,
                position_ids=batch.position_ids,
                labels=batch.labels,
                logits_to_keep="labelled",
                use_cache=False,
            )
            total += float(output.loss) * num_labels
            count += num_labels
    return total / max(1, count)


def _load(folder: Path, **fields: Any) -> DvseForCausalLM:
    return DvseForCausalLM.from_pretrained(folder, dtype=torch.float32, **fields)


def _documents(shards: Location, pad_id: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the first rows of the first shard, a few of like length together."""
    first = find_shards(shards)[0]
    rows = read_shard(first, columns=["ids"])["ids"][:_NUM_DOCUMENTS].to_pylist()
    rows.sort(key=len)
    for start in range(0, len(rows), _AT_ONCE):
        few = rows[start : start + _AT_ONCE]
        ids = torch.full((len(few), max(map(len, few))), pad_id)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(few):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
        yield {"input_ids": ids, "attention_mask": mask}


def _num_rows(documents: list[dict[str, torch.Tensor]]) -> int:
    return sum(len(document["input_ids"]) for document in documents)


def _open_share(decoder: DvseForCausalLM, saving: float, length: int) -> float:
    """Return the share of open gates at which `saving` of a pass over `length` ids is skipped."""
    config = decoder.config
    flops = forward_flops(config, length)
    of_ffns = length * sum(ffn_flops(config, i) for i in range(config.num_hidden_layers))
    return max(0.0, 1 - (saving * (flops.total - flops.gates) + flops.gates) / of_ffns)
