"""The loop that trains an image codebook, on accelerate: one process, or several GPUs and nodes.

What is learnt comes from the codec's objective and, if asked for, from the label of the picture as
voted for by its codes. Every random choice is a function of the seed and the step, so a run that
was killed and resumed takes the same steps as one that never was. With several processes each takes
its part of every batch; codebooks are averaged over all of them, batch norm's statistics are those
of the first.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dvse.errors import ConfigError, MissingExtraError, TrainingError
from pipelines.training.image.codec import ImageCodec
from pipelines.training.image.pictures import Pictures
from pipelines.training.image.progress import Progress
from pipelines.training.image.settings import ImageTrainingConfig
from pipelines.training.image.step import take_step


def open_accelerator(config: ImageTrainingConfig, *, device: str = "auto") -> Any:
    """Return accelerate's `Accelerator`: processes, device, precision.

    Open it before the codec is made: a codebook has to know whether it is averaged over processes.

    Raises:
        ConfigError: an unknown device, no GPU for `cuda`, or a batch that the processes cannot
            share evenly.
        MissingExtraError: accelerate is not installed.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise MissingExtraError.for_extra("accelerate", "train") from error
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"expected device auto, cpu or cuda, received {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("expected a CUDA device, torch sees none; use --device cpu")
    accelerator = Accelerator(
        cpu=device == "cpu" or not torch.cuda.is_available(),
        mixed_precision=config.precision,
        gradient_accumulation_steps=config.accumulate,
    )
    parts = accelerator.num_processes * config.accumulate
    if config.batch_size % parts:
        raise ConfigError(
            f"expected a batch size that {accelerator.num_processes} processes times "
            f"{config.accumulate} parts divide, received {config.batch_size}"
        )
    return accelerator


def train_codec(
    codec: ImageCodec,
    train: Pictures,
    validation: Pictures | None,
    config: ImageTrainingConfig,
    folder: Path,
    *,
    accelerator: Any = None,
    about: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> list[dict[str, Any]]:
    """Train in place, keep a checkpoint in `folder` after every epoch, return the log.

    Args:
        accelerator: from `open_accelerator`; by default one on the CPU.
        about: what else a checkpoint must agree with.

    Raises:
        TrainingError: fewer pictures than a batch, no labels where they are asked for, a
            checkpoint of other settings, a loss that is no longer finite, or a full disk.
    """
    accelerator = accelerator or open_accelerator(config, device="cpu")
    _check(train, config)
    steps_per_epoch = len(train) // config.batch_size
    identity = _identity(codec, config, train, accelerator.num_processes, about or {})
    model, optimizer = accelerator.prepare(codec, make_optimizer(codec, config))
    is_first = accelerator.is_main_process
    progress = Progress(
        folder,
        identity,
        codec=codec,
        optimizer=optimizer,
        scaler=accelerator.scaler,
        steps_per_epoch=steps_per_epoch,
        is_first=is_first,
        resume=resume,
    )
    total = config.epochs * steps_per_epoch
    with tqdm(
        total=total, initial=progress.step, unit="step", desc="train", disable=not is_first
    ) as bar:
        for rows in _batches(train, config, steps_per_epoch, progress.step):
            codec.train()
            step = progress.step
            rate = _set_learning_rate(optimizer, config, step, total)
            losses = take_step(
                accelerator, model, optimizer, train, rows, config, step, step / total
            )
            progress.take(losses, rate)
            bar.set_postfix({k: f"{v:.3f}" for k, v in losses.items()}, refresh=False)
            bar.update()
            if progress.is_epoch_over:
                progress.end_epoch(validation)
            is_due = config.checkpoint_steps and progress.step % config.checkpoint_steps == 0
            if progress.is_epoch_over or is_due:
                progress.save()
    accelerator.wait_for_everyone()
    progress.close()
    return progress.lines


def _check(train: Pictures, config: ImageTrainingConfig) -> None:
    if len(train) < config.batch_size:
        raise TrainingError(
            f"expected at least one batch of {config.batch_size} pictures, received {len(train)}; "
            "give more pictures or a smaller --batch-size"
        )
    if config.label_weight and train.labels is None:
        raise TrainingError("expected labels for the label loss; name their column")


def _batches(
    train: Pictures, config: ImageTrainingConfig, steps_per_epoch: int, first: int
) -> Iterator[np.ndarray]:
    """Yield the rows of each step from `first` on; an epoch's order follows from the seed alone."""
    for epoch in range(first // steps_per_epoch, config.epochs):
        order = np.random.default_rng((config.seed, epoch)).permutation(len(train))
        begun = first % steps_per_epoch if epoch == first // steps_per_epoch else 0
        for place in range(begun, steps_per_epoch):
            yield order[place * config.batch_size : (place + 1) * config.batch_size]


def make_optimizer(codec: ImageCodec, config: ImageTrainingConfig) -> torch.optim.Optimizer:
    """Return AdamW; weights decay in matrices, not in biases and norms."""
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


def _set_learning_rate(optimizer: Any, config: ImageTrainingConfig, step: int, total: int) -> float:
    warmup = max(1, min(config.warmup_steps, total // 5))
    if step < warmup:
        factor = (step + 1) / warmup
    else:
        progress = (step - warmup) / max(1, total - warmup)
        factor = max(0.005, 0.5 * (1 + math.cos(math.pi * progress)))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * factor
    return config.learning_rate * factor


def _identity(
    codec: ImageCodec,
    config: ImageTrainingConfig,
    train: Pictures,
    num_processes: int,
    about: Mapping[str, Any],
) -> Mapping[str, Any]:
    identity = {
        **asdict(codec.config),
        **asdict(config),
        "objective": codec.objective.name,
        "pictures": train.sha256,
        "processes": num_processes,
        **about,
    }
    del identity["checkpoint_steps"]  # how often is nobody's business
    return json.loads(json.dumps(identity, sort_keys=True))
