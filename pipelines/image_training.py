"""The loop that trains an image codebook.

The objective is pixel reconstruction and, if asked for, the label of the picture as voted for by
its codes. Every random choice is a function of the seed and the step, so a run that was killed and
resumed takes the same steps as one that never was.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from dvse.errors import ConfigError, TrainingError
from pipelines.checkpoint import load_checkpoint, save_checkpoint
from pipelines.image_codec import ImageCodec
from pipelines.picture_data import Pictures
from pipelines.picture_mosaic import MOSAICS, shift_and_mirror, tile, untile

CHECKPOINT_FILE = "checkpoint.pt"
LOG_FILE = "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class ImageTrainingConfig:
    """Settings of the loop.

    Attributes:
        epochs, batch_size: passes over the pictures, pictures a step.
        learning_rate: peak of AdamW's; it rises over `warmup_steps` and falls as a cosine.
        weight_decay: of weight matrices (not of biases and norms).
        label_weight: of the label loss beside the pixel loss; 0 trains without labels.
        mosaic_share: share of steps that see 2x2, 1x2 or 2x1 pictures side by side.
        seed: of everything random.
    """

    epochs: int = 4
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    label_weight: float = 0.0
    mosaic_share: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ConfigError("expected epochs, batch size and learning rate above zero")
        if self.label_weight < 0 or not 0 <= self.mosaic_share <= 1:
            raise ConfigError("expected a label weight of at least 0 and a mosaic share in 0..1")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How a codec does on pictures, in training (a part's own figures come from the saved files).

    Attributes:
        psnr_db: from the mean squared error over all pixels, on a scale of 0 … 1.
        codes_used: share of the codebook that occurs.
        perplexity: exponential of the entropy of the codes.
        accuracy: of the label head, `None` without labels.
    """

    psnr_db: float
    codes_used: float
    perplexity: float
    accuracy: float | None


def train_codec(
    codec: ImageCodec,
    train: Pictures,
    validation: Pictures | None,
    config: ImageTrainingConfig,
    folder: Path,
    *,
    resume: bool = False,
) -> list[dict[str, Any]]:
    """Train in place, keep a checkpoint in `folder` after every epoch, return the log.

    Raises:
        TrainingError: fewer pictures than a batch, no labels where they are asked for, a
            checkpoint of other settings, or a loss that is no longer finite.
    """
    steps_per_epoch = len(train) // config.batch_size
    if steps_per_epoch < 1:
        raise TrainingError(
            f"expected at least one batch of {config.batch_size} pictures, received {len(train)}"
        )
    if config.label_weight and train.labels is None:
        raise TrainingError("expected labels for the label loss; name their column")
    identity = _identity(codec, config, train)
    optimizer = _optimizer(codec, config)
    first_epoch, log = 0, []
    checkpoint = folder / CHECKPOINT_FILE
    if resume and (state := load_checkpoint(checkpoint, identity)) is not None:
        codec.load_state_dict(state["codec"])
        optimizer.load_state_dict(state["optimizer"])
        first_epoch, log = state["epoch"], state["log"]

    total = config.epochs * steps_per_epoch
    with tqdm(total=total, initial=first_epoch * steps_per_epoch, unit="step", desc="train") as bar:
        for epoch in range(first_epoch, config.epochs):
            codec.train()
            sums: dict[str, float] = {}
            order = np.random.default_rng((config.seed, epoch)).permutation(len(train))
            for i in range(steps_per_epoch):
                step = epoch * steps_per_epoch + i
                _set_learning_rate(optimizer, config, step, total)
                rows = order[i * config.batch_size : (i + 1) * config.batch_size]
                losses = _step(codec, optimizer, train, rows, config, step)
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value
                bar.set_postfix({k: f"{v:.3f}" for k, v in losses.items()}, refresh=False)
                bar.update()
            line: dict[str, Any] = {"epoch": epoch + 1}
            line |= {name: round(value / steps_per_epoch, 5) for name, value in sums.items()}
            if validation is not None:
                line["validation"] = asdict(score_codec(codec, validation))
            log.append(line)
            tqdm.write(json.dumps(line))
            state = {
                "codec": codec.state_dict(),
                "optimizer": optimizer.state_dict(),
                "epoch": epoch + 1,
                "log": log,
            }
            save_checkpoint(checkpoint, identity, state)
            (folder / LOG_FILE).write_text("".join(json.dumps(entry) + "\n" for entry in log))
    return log


@torch.no_grad()
def score_codec(codec: ImageCodec, pictures: Pictures, *, batch_size: int = 100) -> Scores:
    """Reconstruct the pictures and count their codes."""
    codec.eval()
    squared_error, right = 0.0, 0
    counts = torch.zeros(codec.config.num_codes, dtype=torch.int64)
    for start in range(0, len(pictures), batch_size):
        pixels = torch.from_numpy(pictures.pixels[start : start + batch_size])
        output = codec(pixels)
        error = (codec.encoder.denormalize(output.pixels).float() - pixels.float()) / 255
        squared_error += float(error.square().mean((1, 2, 3)).sum())
        counts += torch.bincount(output.codes.flatten(), minlength=len(counts))
        if output.votes is not None and pictures.labels is not None:
            guess = output.votes.mean((1, 2)).argmax(-1).numpy()
            right += int((guess == pictures.labels[start : start + batch_size]).sum())
    share = counts[counts > 0] / counts.sum()
    is_labelled = codec.votes is not None and pictures.labels is not None
    return Scores(
        psnr_db=-10 * math.log10(max(squared_error / len(pictures), 1e-12)),
        codes_used=float((counts > 0).float().mean()),
        perplexity=float((-(share * share.log()).sum()).exp()),
        accuracy=right / len(pictures) if is_labelled else None,
    )


def _step(
    codec: ImageCodec,
    optimizer: torch.optim.Optimizer,
    train: Pictures,
    rows: np.ndarray,
    config: ImageTrainingConfig,
    step: int,
) -> dict[str, float]:
    torch.manual_seed(config.seed * 1_000_003 + step)  # the quantizer revives codes at random
    rng = np.random.default_rng((config.seed, 1, step))
    pixels = torch.from_numpy(shift_and_mirror(train.pixels[rows], rng))
    tiles = (1, 1)
    if rng.random() < config.mosaic_share:
        tiles = MOSAICS[rng.integers(len(MOSAICS))]
    output = codec(tile(pixels, tiles))
    losses = {"pixels": F.mse_loss(output.pixels, output.target), "commitment": output.commitment}
    loss = losses["pixels"] + losses["commitment"]
    if config.label_weight and output.votes is not None and train.labels is not None:
        logits = untile(output.votes, tiles).mean((1, 2))
        labels = torch.from_numpy(train.labels[rows])[: len(logits)]
        losses["label"] = F.cross_entropy(logits, labels)
        loss = loss + config.label_weight * losses["label"]
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss is no longer finite at step {step}; start again with a lower learning rate"
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
    optimizer.step()
    return {name: float(value.detach()) for name, value in losses.items()}


def _optimizer(codec: ImageCodec, config: ImageTrainingConfig) -> torch.optim.Optimizer:
    matrices = [p for p in codec.parameters() if p.ndim > 1]
    vectors = [p for p in codec.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.99),
        fused=True,
    )


def _set_learning_rate(
    optimizer: torch.optim.Optimizer, config: ImageTrainingConfig, step: int, total: int
) -> None:
    warmup = max(1, min(config.warmup_steps, total // 5))
    if step < warmup:
        factor = (step + 1) / warmup
    else:
        progress = (step - warmup) / max(1, total - warmup)
        factor = max(0.005, 0.5 * (1 + math.cos(math.pi * progress)))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * factor


def _identity(codec: ImageCodec, config: ImageTrainingConfig, train: Pictures) -> Mapping[str, Any]:
    identity = {**asdict(codec.config), **asdict(config), "pictures": train.sha256}
    return json.loads(json.dumps(identity, sort_keys=True))
