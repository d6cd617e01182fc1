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
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dvse.errors import ConfigError, MissingExtraError, TrainingError
from pipelines.checkpoint import load_checkpoint, save_checkpoint
from pipelines.image_codec import ImageCodec
from pipelines.picture_data import Pictures
from pipelines.picture_mosaic import MOSAICS, blank_some, shift_and_mirror, tile, untile
from pipelines.training_log import TrainingLog

CHECKPOINT_FILE = "checkpoint.pt"

_SCALARS_EVERY = 20  # steps
_BLANK_SHARE = 0.3  # of the steps with mosaics


Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class ImageTrainingConfig:
    """Settings of the loop.

    Attributes:
        epochs, batch_size: passes over the pictures, pictures a step (of all processes together).
        accumulate: parts that a process takes its batch in, one after the other, to fit in memory.
        precision: `no` for fp32; `bf16` or `fp16` for everything but codes and losses.
        learning_rate: peak of AdamW's; it rises over `warmup_steps` and falls as a cosine.
        weight_decay: of weight matrices (not of biases and norms).
        label_weight: of the label loss beside the pixel loss; 0 trains without labels.
        label_smoothing: share of a label that goes to all classes alike.
        mosaic_share: share of steps that see 2x2, 1x2 or 2x1 pictures side by side, some of the
            tiles left blank.
        decoded_share: share of a batch that is decoded to pixels. Pixels are learned from fewer
            pictures than labels are, and the decoder takes a third of a step.
        hard_from, hard_by: shares of the run between which features give way to codes; before,
            the codebook only follows, after it all is as it will be used.
        checkpoint_steps: steps from one checkpoint to the next, beside that of every epoch; 0 for
            none.
        seed: of everything random.
    """

    epochs: int = 4
    batch_size: int = 64
    accumulate: int = 1
    precision: Precision = "no"
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    label_weight: float = 0.0
    label_smoothing: float = 0.0
    mosaic_share: float = 0.25
    decoded_share: float = 1.0
    hard_from: float = 0.0
    hard_by: float = 0.0
    checkpoint_steps: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ConfigError("expected epochs, batch size and learning rate above zero")
        if self.precision not in ("no", "bf16", "fp16"):
            raise ConfigError(f"expected precision no, bf16 or fp16, received {self.precision!r}")
        if self.accumulate < 1 or self.checkpoint_steps < 0 or self.warmup_steps < 0:
            raise ConfigError(
                "expected at least 1 for accumulate and 0 for checkpoint and warm-up steps"
            )
        if self.label_weight < 0 or not 0 <= self.mosaic_share <= 1:
            raise ConfigError("expected a label weight of at least 0 and a mosaic share in 0..1")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"expected a label smoothing in 0..1, received {self.label_smoothing}"
            )
        if not 0 < self.decoded_share <= 1:
            raise ConfigError(f"expected a decoded share in 0..1, received {self.decoded_share}")
        if not 0 <= self.hard_from <= self.hard_by <= 1:
            raise ConfigError(
                f"expected 0 <= hard_from <= hard_by <= 1, received {self.hard_from} and "
                f"{self.hard_by}"
            )


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How a codec does on pictures, in training (a part's own figures come from the saved files).

    Attributes:
        psnr_db: from the mean squared error over all pixels, on a scale of 0 … 1; `None` where
            features are rebuilt instead.
        loss: of the objective.
        codes_used: share of the codebook's first level that occurs.
        perplexity: exponential of the entropy of its codes.
        accuracy: of the label head, `None` without labels.
    """

    psnr_db: float | None
    loss: float
    codes_used: float
    perplexity: float
    accuracy: float | None


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
            losses = _step(accelerator, model, optimizer, train, rows, config, step, step / total)
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


@torch.no_grad()
def score_codec(codec: ImageCodec, pictures: Pictures, *, batch_size: int = 100) -> Scores:
    """Rebuild the pictures and count their codes."""
    codec.eval()
    device = next(codec.parameters()).device
    squared_error, loss, right = 0.0, 0.0, 0
    counts = torch.zeros(codec.config.quantizer.num_codes, dtype=torch.int64)
    for start in range(0, len(pictures), batch_size):
        pixels = torch.from_numpy(pictures.pixels[start : start + batch_size]).to(device)
        output = codec(pixels)
        loss += float(output.loss) * len(pixels)
        if codec.decoder is not None:
            error = (codec.encoder.denormalize(output.rebuilt).float() - pixels.float()) / 255
            squared_error += float(error.square().mean((1, 2, 3)).sum())
        counts += torch.bincount(output.codes[..., 0].flatten().cpu(), minlength=len(counts))
        if output.votes is not None and pictures.labels is not None:
            guess = output.votes.mean((1, 2)).argmax(-1).cpu().numpy()
            right += int((guess == pictures.labels[start : start + batch_size]).sum())
    share = counts[counts > 0] / counts.sum()
    is_labelled = codec.votes is not None and pictures.labels is not None
    psnr = -10 * math.log10(max(squared_error / len(pictures), 1e-12))
    return Scores(
        psnr_db=None if codec.decoder is None else psnr,
        loss=loss / len(pictures),
        codes_used=float((counts > 0).float().mean()),
        perplexity=float((-(share * share.log()).sum()).exp()),
        accuracy=right / len(pictures) if is_labelled else None,
    )


def _step(
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
