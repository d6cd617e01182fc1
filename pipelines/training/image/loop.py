"""The loop that trains an image codebook, on accelerate: one process, or several GPUs and nodes.

What is learnt comes from the codec's objective and, if asked for, from the label of the picture as
voted for by its codes. Every random choice is a function of the seed and the step, so a run that
was killed and resumed takes the same steps as one that never was. With several processes each takes
its part of every batch; codebooks are averaged over all of them, batch norm's statistics are those
of the first.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dvse.errors import ConfigError, MissingExtraError, TrainingError
from pipelines.runs.checkpoint import load_checkpoint, save_checkpoint
from pipelines.runs.log import TrainingLog
from pipelines.training.image.codec import ImageCodec
from pipelines.training.image.pictures import Pictures
from pipelines.training.image.scores import score_codec
from pipelines.training.image.settings import ImageTrainingConfig
from pipelines.training.image.step import take_step

CHECKPOINT_FILE = "checkpoint.pt"

_SCALARS_EVERY = 20  # steps


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
    steps_per_epoch = len(train) // config.batch_size
    if steps_per_epoch < 1:
        raise TrainingError(
            f"expected at least one batch of {config.batch_size} pictures, received {len(train)}; "
            "give more pictures or a smaller --batch-size"
        )
    if config.label_weight and train.labels is None:
        raise TrainingError("expected labels for the label loss; name their column")
    identity = _identity(codec, config, train, accelerator.num_processes, about or {})
    model, optimizer = accelerator.prepare(codec, _optimizer(codec, config))
    first_step, sums, lines = 0, {}, []
    checkpoint = folder / CHECKPOINT_FILE
    if resume and (state := load_checkpoint(checkpoint, identity)) is not None:
        codec.load_state_dict(state["codec"])
        optimizer.load_state_dict(state["optimizer"])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
        first_step, sums, lines = state["step"], state["sums"], state["log"]

    is_first = accelerator.is_main_process
    log = TrainingLog(folder, first_step=first_step) if is_first else None
    total = config.epochs * steps_per_epoch
    bar = tqdm(total=total, initial=first_step, unit="step", desc="train", disable=not is_first)
    with bar:
        for step in range(first_step, total):
            epoch, place = divmod(step, steps_per_epoch)
            if place == 0:
                sums = {}
            if place == 0 or step == first_step:
                order = np.random.default_rng((config.seed, epoch)).permutation(len(train))
            codec.train()
            rate = _set_learning_rate(optimizer, config, step, total)
            rows = order[place * config.batch_size : (place + 1) * config.batch_size]
            losses = take_step(
                accelerator, model, optimizer, train, rows, config, step, step / total
            )
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            bar.set_postfix({k: f"{v:.3f}" for k, v in losses.items()}, refresh=False)
            bar.update()
            is_end = place + 1 == steps_per_epoch
            if log is not None and (is_end or step % _SCALARS_EVERY == 0):
                log.scalars(step, {f"train/{k}": v for k, v in losses.items()})
                log.scalars(step, {"learning_rate": rate})
            if log is not None and is_end:
                means = {name: round(value / steps_per_epoch, 5) for name, value in sums.items()}
                line: dict[str, Any] = {"epoch": epoch + 1, **means}
                if validation is not None:
                    line["validation"] = asdict(score_codec(codec, validation))
                    scores = {k: v for k, v in line["validation"].items() if v is not None}
                    log.scalars(step, {f"validation/{k}": v for k, v in scores.items()})
                lines.append(line)
                tqdm.write(json.dumps(line))
            due = config.checkpoint_steps and (step + 1) % config.checkpoint_steps == 0
            if log is not None and (is_end or due):
                state = {
                    "codec": codec.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scaler": accelerator.scaler and accelerator.scaler.state_dict(),
                    "step": step + 1,
                    "sums": sums,
                    "log": lines,
                }
                save_checkpoint(checkpoint, identity, state)
                log.lines(lines)
    accelerator.wait_for_everyone()
    if log is not None:
        log.close()
    return lines


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
