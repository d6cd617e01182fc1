"""One step of the training of an image codebook: pictures, losses, gradient."""

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvse.errors import TrainingError
from pipelines.training.image.mosaic import MOSAICS, blank_some, shift_and_mirror, tile, untile
from pipelines.training.image.pictures import Pictures
from pipelines.training.image.settings import ImageTrainingConfig

_BLANK_SHARE = 0.3  # of the steps with mosaics


def take_step(
    accelerator: Any,
    model: nn.Module,
    optimizer: Any,
    train: Pictures,
    rows: np.ndarray,
    config: ImageTrainingConfig,
    step: int,
    progress: float,
) -> dict[str, float]:
    """Take one step; return this process's losses."""
    num_parts = accelerator.num_processes * config.accumulate
    parts = np.array_split(rows, num_parts)
    sums: dict[str, float] = {}
    for turn in range(config.accumulate):
        part = turn * accelerator.num_processes + accelerator.process_index
        key = (step,) if num_parts == 1 else (step, part)
        with accelerator.accumulate(model) if config.accumulate > 1 else nullcontext():
            losses = _losses(model, train, parts[part], config, key, progress, accelerator.device)
            loss = losses.pop("sum")
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"the loss is no longer finite at step {step}; start again with a lower "
                    "learning rate"
                )
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) / config.accumulate
    return sums


def _losses(
    model: nn.Module,
    train: Pictures,
    rows: np.ndarray,
    config: ImageTrainingConfig,
    key: tuple[int, ...],
    progress: float,
    device: torch.device,
) -> dict[str, Tensor]:
    """Return the losses of some pictures by name, and what is trained on as `sum`."""
    torch.manual_seed(config.seed * 1_000_003 + key[0])  # the quantizer revives codes at random
    rng = np.random.default_rng((config.seed, 1, *key))
    pixels = torch.from_numpy(shift_and_mirror(train.pixels[rows], rng))
    tiles = (1, 1)
    if rng.random() < config.mosaic_share:
        tiles = MOSAICS[rng.integers(len(MOSAICS))]
    if tiles[0] * tiles[1] > len(rows):
        tiles = (1, 1)
    is_blank = torch.zeros(len(pixels), dtype=torch.bool)
    if tiles != (1, 1) and rng.random() < _BLANK_SHARE:
        pixels, is_blank = blank_some(pixels, rng)
    tiled = tile(pixels, tiles)
    output = model(
        tiled.to(device),
        num_decoded=math.ceil(len(tiled) * config.decoded_share),
        hardness=_hardness(config, progress),
    )
    losses = {"reconstruction": output.loss, "commitment": output.commitment}
    total = output.loss + output.commitment
    if config.label_weight and output.votes is not None and train.labels is not None:
        logits = untile(output.votes, tiles).mean((1, 2))
        labels = torch.from_numpy(train.labels[rows]).masked_fill(is_blank, -100)[: len(logits)]
        losses["label"] = F.cross_entropy(
            logits, labels.to(device), label_smoothing=config.label_smoothing
        )
        total = total + config.label_weight * losses["label"]
    return {**losses, "sum": total}


def _hardness(config: ImageTrainingConfig, progress: float) -> float:
    if progress >= config.hard_by:
        return 1.0
    return max(0.0, (progress - config.hard_from) / (config.hard_by - config.hard_from))
