"""Training of a small Wav2Vec2 encoder whose hidden layer is worth clustering.

The encoder learns two things at once from each frame's last hidden state: which phone is being
said (synthetic speech brings the labels; recorded digits are aligned on the way by Viterbi search
through their pronunciation), and which digit the word around it is. Each clip is seen twice,
once more with a little noise and a small shift, and both views must give the same features, so
that units do not flicker. It refuses to know codebooks.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Wav2Vec2Config, Wav2Vec2Model

from dvse.audio.hub_weights import weights_sha256
from dvse.errors import TrainingError
from pipelines.runs.checkpoint import load_checkpoint, save_checkpoint
from pipelines.speech.clips import Clip
from pipelines.training.audio.alignment import align_phones
from pipelines.training.audio.batches import KINDS, Batch, training_batches
from pipelines.training.audio.encoder import IGNORED, UnitEncoder
from pipelines.training.audio.settings import UnitEncoderTraining

logger = logging.getLogger(__name__)

_LOG_EVERY = 50  # steps


def train_unit_encoder(
    settings: UnitEncoderTraining,
    recorded: Sequence[Clip],
    synthetic: Sequence[Clip],
    *,
    start: Wav2Vec2Model | None = None,
    checkpoint: Path | None = None,
) -> Wav2Vec2Model:
    """Train and return the encoder, on the CPU or a CUDA device where there is one.

    Args:
        recorded: clips of one digit each; synthetic: clips with phones and words.
        start: an encoder of this shape to go on from, instead of random weights.
        checkpoint: a file, written every `checkpoint_every` steps and resumed from; a resumed run
            draws the same batches as one that was never stopped.

    Raises:
        TrainingError: no clips, a start of another shape, a checkpoint of other settings, clips or
            start, or a full disk.
    """
    if not recorded or not synthetic:
        raise TrainingError("expected recorded and synthetic clips to train on, received none")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(settings.seed)
    model = UnitEncoder(Wav2Vec2Config(**settings.encoder)).to(device).train()
    if start is not None:
        _load(model.encoder, start)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    identity = _identity(settings, recorded, synthetic, start)
    first = 0
    if checkpoint and (state := load_checkpoint(checkpoint, identity)) is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        logger.info("resumed at step %d from %s", first, checkpoint)
    running: dict[str, float] = {}
    for step in range(first, settings.steps):
        losses = _step(model, optimizer, recorded, synthetic, settings, step)
        for name, value in losses.items():
            running[name] = 0.98 * running.get(name, value) + 0.02 * value
        if (step + 1) % _LOG_EVERY == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in running.items())
            logger.info("step %d/%d %s", step + 1, settings.steps, shown)
        is_due = (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps
        if checkpoint and is_due:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
            }
            save_checkpoint(checkpoint, identity, state)
    return model.encoder.eval().cpu()


def _step(
    model: UnitEncoder,
    optimizer: torch.optim.Optimizer,
    recorded: Sequence[Clip],
    synthetic: Sequence[Clip],
    settings: UnitEncoderTraining,
    step: int,
) -> dict[str, float]:
    """Take one step, random by seed and step alone; return its losses by kind and name."""
    torch.manual_seed(settings.seed * 1_000_003 + step)
    rng = np.random.default_rng([settings.seed, step])
    losses = [
        _losses(
            model,
            batch,
            settings,
            align=step >= settings.align_from,
            agree=step >= settings.agree_from * settings.steps,
        )
        for batch in training_batches(recorded, synthetic, settings, model, rng)
    ]
    total = torch.stack([torch.stack([*loss.values()]).sum() for loss in losses]).mean()
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * _rate(step, settings)
    optimizer.step()
    return {
        f"{kind}.{name}": value.item()
        for kind, loss in zip(KINDS, losses, strict=True)
        for name, value in loss.items()
    }


def _identity(
    settings: UnitEncoderTraining,
    recorded: Sequence[Clip],
    synthetic: Sequence[Clip],
    start: Wav2Vec2Model | None,
) -> dict[str, Any]:
    """What a checkpoint must agree with: all that decides the weights."""
    identity = json.loads(json.dumps(asdict(settings)))
    del identity["checkpoint_every"]  # how often is nobody's business
    return {
        **identity,
        "recorded": _clips_sha256(recorded),
        "synthetic": _clips_sha256(synthetic),
        "start": None if start is None else weights_sha256(start),
    }


def _clips_sha256(clips: Sequence[Clip]) -> str:
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(np.ascontiguousarray(clip.samples).tobytes())
        digest.update(repr((clip.words, clip.phones)).encode())
    return digest.hexdigest()


def _load(encoder: Wav2Vec2Model, start: Wav2Vec2Model) -> None:
    """Give `encoder` the weights of `start`; what hides frames in pretraining may be missing."""
    weights = {"masked_spec_embed": encoder.masked_spec_embed, **start.state_dict()}
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingError(
            "expected an encoder of the shape in the settings to start from; "
            f"{' '.join(str(error).split())[:200]}"
        ) from error


def _rate(step: int, settings: UnitEncoderTraining) -> float:
    """Return the share of the learning rate: up, level, and down to zero."""
    left = (settings.steps - step) / max(1.0, settings.cooldown * settings.steps)
    return min(1.0, (step + 1) / settings.warmup, max(left, 0.0))


def _losses(
    model: UnitEncoder, batch: Batch, settings: UnitEncoderTraining, *, align: bool, agree: bool
) -> dict[str, Tensor]:
    num_views = 2 if agree else 1
    features = model(batch.views[:num_views].flatten(0, 1), batch.mask.repeat(num_views, 1))
    features = features[:, : batch.digits.shape[1]]
    phone_logits = model.phone_head(features)
    phones = batch.phones
    if align and batch.to_align.any():
        phones = align_phones(phone_logits[: len(phones)], batch)
    digit = _cross_entropy(model.digit_head(features), batch.digits.repeat(num_views, 1))
    losses = {"digit": settings.digit_weight * digit}
    if bool((phones != IGNORED).any()):
        losses["phone"] = _cross_entropy(phone_logits, phones.repeat(num_views, 1))
    if agree:
        kept = batch.digits != IGNORED
        one, other = features.chunk(2)
        agreement = (one[kept] - other[kept]).square().mean()
        losses["agreement"] = settings.agreement_weight * agreement
    return losses


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, label_smoothing=0.05
    )
