"""Training of a small Wav2Vec2 encoder whose hidden layer is worth clustering.

The encoder learns two things at once from each frame's last hidden state: which phone is being
said (synthetic speech brings the labels; recorded digits are aligned on the way by Viterbi search
through their pronunciation), and which digit the word around it is. Each clip is seen twice,
once more with a little noise and a small shift, and both views must give the same features, so
that units do not flicker. It refuses to know codebooks.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Wav2Vec2Config, Wav2Vec2Model

from dvse.audio.windows import FrameGrid
from dvse.errors import ConfigError, TrainingError
from pipelines.espeak import SILENCE, Span
from pipelines.joined_speech import digit_sequence, join, stretch
from pipelines.labelled_speech import Clip
from pipelines.phones import DIGIT_PHONES, PHONES, phone_index
from pipelines.speech_augmentation import perturb, vary
from pipelines.word_lists import DIGIT_WORDS

logger = logging.getLogger(__name__)

NO_DIGIT = len(DIGIT_WORDS)
IGNORED = -100
KINDS = ("digits", "sequences", "synthetic", "synthetic")
"""What the batches of a step are made of."""


def tiny_encoder_config() -> Wav2Vec2Config:
    """Return the shape of the shipped encoder: 8 kHz in, 50 frames a second out, 1.3 M weights.

    Strides 8·5·4 = 160 samples; a frame sees 288 samples (36 ms) before the transformer. Layer
    norm in the convolutions, so that no frame depends on the statistics of a whole window.
    """
    return Wav2Vec2Config(
        hidden_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=448,
        conv_dim=(48, 80, 128),
        conv_kernel=(16, 10, 6),
        conv_stride=(8, 5, 4),
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=False,
        num_conv_pos_embeddings=15,
        num_conv_pos_embedding_groups=16,
        apply_spec_augment=False,
        layerdrop=0.0,
        hidden_dropout=0.0,
        activation_dropout=0.0,
        attention_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        vocab_size=len(PHONES),
    )


@dataclass(frozen=True, kw_only=True)
class UnitEncoderTraining:
    """Settings of a training run.

    Attributes:
        steps: optimiser steps; the learning rate falls to zero over the last `cooldown` share.
        digits_per_step, sequences_per_step, crops_per_step: recorded digits alone, two to six of
            them joined with pauses, and synthetic speech in a step.
        longest_s: only stretches of this length are seen, as the tokenizer's windows will be.
        joined_share: of the synthetic clips are several, joined with pauses.
        digit_weight, agreement_weight: weights of the digit loss and of the two views' distance
            against the phone loss, which counts once.
        align_from: step from which recorded digits are aligned and their phones trained.
        agree_from: share of the steps after which each clip is seen twice.
    """

    steps: int = 3000
    digits_per_step: int = 8
    sequences_per_step: int = 12
    crops_per_step: int = 8
    joined_share: float = 0.3
    longest_s: float = 1.28
    learning_rate: float = 2e-3
    warmup: int = 200
    cooldown: float = 0.4
    digit_weight: float = 0.6
    agreement_weight: float = 2.0
    align_from: int = 200
    agree_from: float = 0.3
    sample_rate_hz: int = 8000
    seed: int = 0
    checkpoint_every: int = 250
    encoder: Mapping[str, Any] = field(default_factory=lambda: tiny_encoder_config().to_diff_dict())

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.cooldown <= 1:
            raise ConfigError(
                f"expected steps >= 1 and cooldown in 0..1, received {self.steps}, {self.cooldown}"
            )


class UnitEncoder(nn.Module):
    """The encoder with its two training heads on the last hidden state `[B, T, hidden]`."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.encoder = Wav2Vec2Model(config)
        self.phone_head = nn.Linear(config.hidden_size, len(PHONES))
        self.digit_head = nn.Linear(config.hidden_size, NO_DIGIT + 1)

    def forward(self, samples: Tensor, mask: Tensor) -> Tensor:
        """Return features `[B, T, hidden]` of `samples` `[B, n]` (normalised, zero-padded)."""
        return self.encoder(samples, attention_mask=mask).last_hidden_state


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips padded to one length, two views of each, with their frame labels.

    Attributes:
        views: float32 [2, B, n]; the second is the first, perturbed.
        mask: int64 [B, n], 1 where there is sound.
        phones: int64 [B, T], `IGNORED` where unknown (recorded digits) or padded.
        digits: int64 [B, T], `NO_DIGIT` for other words, `IGNORED` where padded.
        to_align: bool [B], where the phones are unknown and follow from the digits.
    """

    views: Tensor
    mask: Tensor
    phones: Tensor
    digits: Tensor
    to_align: np.ndarray


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
        checkpoint: a safetensors file, written every `checkpoint_every` steps and resumed from;
            a resumed run draws the same batches as one that was never stopped.

    Raises:
        TrainingError: no clips, or a checkpoint or start of another configuration.
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
    first = _resume(checkpoint, settings, model, optimizer) if checkpoint else 0
    running: dict[str, float] = {}
    for step in range(first, settings.steps):
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
            for batch in _batches(recorded, synthetic, settings, model, rng)
        ]
        total = torch.stack([torch.stack([*loss.values()]).sum() for loss in losses]).mean()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(step, settings)
        optimizer.step()
        for kind, loss in zip(KINDS, losses, strict=True):
            for name, value in loss.items():
                value = value.detach()
                key = f"{kind}.{name}"
                running[key] = 0.98 * running.get(key, value.item()) + 0.02 * value.item()
        if (step + 1) % 50 == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in running.items())
            logger.info("step %d/%d %s", step + 1, settings.steps, shown)
        if checkpoint and (
            (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps
        ):
            _save(checkpoint, step + 1, settings, model, optimizer)
    return model.encoder.eval().cpu()


def encoder_from_checkpoint(checkpoint: Path) -> Wav2Vec2Model:
    """Return the encoder as it stands in a checkpoint of `train_unit_encoder`."""
    with safe_open(checkpoint, framework="pt") as file:
        settings = json.loads(file.metadata()["settings"])
        model = UnitEncoder(Wav2Vec2Config(**settings["encoder"]))
        model.load_state_dict(
            {name: file.get_tensor(f"model.{name}") for name in model.state_dict()}
        )
    return model.encoder.eval()


def best_path(log_probs: np.ndarray, phones: Sequence[int]) -> np.ndarray:
    """Return the best path of one clip through its phones, by Viterbi search (Viterbi 1967).

    Args:
        log_probs: [T, num_phones]; phones: the pronunciation; silence may stand before and after.

    Returns:
        int64 [T]: a phone for each frame, each phone at least once (all `IGNORED` if T is less).

    >>> best_path(np.log([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]), [1, 2]).tolist()
    [1, 2]
    """
    states = np.array([0, *phones, 0])
    num_frames, num_states = len(log_probs), len(states)
    if num_frames < len(phones):
        return np.full(num_frames, IGNORED)
    emission = log_probs[:, states]
    score = np.full(num_states, -np.inf)
    score[:2] = emission[0, :2]
    came = np.zeros((num_frames, num_states), np.int64)
    for frame in range(1, num_frames):
        entered = np.concatenate([[-np.inf], score[:-1]])
        came[frame] = entered > score
        score = np.maximum(score, entered) + emission[frame]
    state = num_states - 1 if score[-1] > score[-2] else num_states - 2
    path = np.empty(num_frames, np.int64)
    for frame in range(num_frames - 1, -1, -1):
        path[frame] = states[state]
        state -= came[frame, state]
    return path


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


def _batches(
    recorded: Sequence[Clip],
    synthetic: Sequence[Clip],
    settings: UnitEncoderTraining,
    model: UnitEncoder,
    rng: np.random.Generator,
) -> Iterator[Batch]:
    """Yield four batches: digits, sequences of them, the shorter and the longer crops."""
    digits = [recorded[i] for i in rng.choice(len(recorded), settings.digits_per_step)]
    rate_hz = settings.sample_rate_hz
    sequences = [
        digit_sequence(recorded, rng, rate_hz=rate_hz) for _ in range(settings.sequences_per_step)
    ]
    crops = [_crops(synthetic, settings, rng) for _ in range(settings.crops_per_step)]
    crops.sort(key=lambda clip: len(clip.samples))
    half = len(crops) // 2
    for clips in (digits, sequences, crops[:half], crops[half:]):
        seen = [stretch(c, rng, most_s=settings.longest_s, rate_hz=rate_hz) for c in clips]
        yield _batch(seen, settings, model, rng)


def _crops(
    synthetic: Sequence[Clip], settings: UnitEncoderTraining, rng: np.random.Generator
) -> Clip:
    """Return a crop of a synthetic clip, or two or three joined."""
    count = int(rng.integers(2, 4)) if rng.random() < settings.joined_share else 1
    drawn = [_crop(synthetic[i], settings, rng) for i in rng.choice(len(synthetic), count)]
    return drawn[0] if count == 1 else join(drawn, rng, rate_hz=settings.sample_rate_hz)


def _crop(clip: Clip, settings: UnitEncoderTraining, rng: np.random.Generator) -> Clip:
    """Return one to four whole words of a clip, with a little of what is around them."""
    rate = settings.sample_rate_hz
    first = int(rng.integers(len(clip.words)))
    last = first + int(rng.integers(1, 4))
    start_s = max(0.0, clip.words[first].start_s - rng.uniform(0, 0.06))
    end_s = len(clip.samples) / rate
    if last < len(clip.words):
        end_s = min(end_s, clip.words[last].start_s + rng.uniform(0, 0.06))
    start = max(0, min(int(start_s * rate), len(clip.samples) - rate // 10))
    samples = clip.samples[start : max(int(end_s * rate), start + rate // 10)]
    before, after = rng.integers(0, rate // 4, size=2) if rng.random() < 0.3 else (0, 0)
    begin_s, end_s = before / rate, (before + len(samples)) / rate
    offset_s = begin_s - start / rate
    return Clip(
        samples=np.pad(samples, (before, after)),
        phones=_moved(clip.phones, offset_s, begin_s, end_s, SILENCE),
        words=_moved(clip.words, offset_s, begin_s, end_s, ""),
    )


def _moved(
    spans: Sequence[Span], by_s: float, begin_s: float, end_s: float, silence: str
) -> tuple[Span, ...]:
    """Return the spans later by `by_s`, with silence before `begin_s` and from `end_s` on."""
    moved = [
        Span(start_s=max(span.start_s + by_s, begin_s), label=span.label)
        for span in spans
        if span.start_s + by_s < end_s
    ]
    return Span(start_s=0.0, label=silence), *moved, Span(start_s=end_s, label=silence)


def _batch(
    clips: Sequence[Clip],
    settings: UnitEncoderTraining,
    model: UnitEncoder,
    rng: np.random.Generator,
) -> Batch:
    grid = FrameGrid.of(model.encoder.config.conv_kernel, model.encoder.config.conv_stride)
    firsts, seconds, speeds = [], [], []
    for clip in clips:
        speed = float(np.exp(rng.uniform(np.log(0.78), np.log(1.28))))
        base = vary(clip.samples, rng, speed=speed)
        shift = int(rng.integers(0, 24))
        first = perturb(base, rng, min_noise=0.003, max_noise=0.3)
        second = perturb(first, rng, min_noise=0.03, max_noise=0.15)
        firsts.append(_normalised(first[: len(first) - shift]))
        seconds.append(_normalised(second[shift:]))
        speeds.append(speed)
    longest = max(map(len, firsts))
    views = np.zeros((2, len(clips), longest), np.float32)
    mask = np.zeros((len(clips), longest), np.int64)
    frames = [grid.num_frames(len(first)) for first in firsts]
    phones = np.full((len(clips), max(frames)), IGNORED)
    digits = np.full((len(clips), max(frames)), IGNORED)
    for row, (clip, first) in enumerate(zip(clips, firsts, strict=True)):
        views[0, row, : len(first)] = first
        views[1, row, : len(first)] = seconds[row]
        mask[row, : len(first)] = 1
        centres = np.arange(frames[row]) * grid.stride + grid.reach / 2
        times_s = centres / settings.sample_rate_hz * speeds[row]
        if clip.phones:
            phones[row, : frames[row]] = _labels(clip.phones, times_s, phone_index)
        digits[row, : frames[row]] = _labels(clip.words, times_s, _digit_index)
    device = next(model.parameters()).device
    return Batch(
        views=torch.from_numpy(views).to(device),
        mask=torch.from_numpy(mask).to(device),
        phones=torch.from_numpy(phones).to(device),
        digits=torch.from_numpy(digits).to(device),
        to_align=np.array([not clip.phones for clip in clips]),
    )


def _normalised(samples: np.ndarray) -> np.ndarray:
    return (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)


def _labels(spans: Sequence[Any], times_s: np.ndarray, index: Any) -> np.ndarray:
    starts = np.array([span.start_s for span in spans])
    indices = np.array([index(span.label) for span in spans])
    return indices[np.maximum(np.searchsorted(starts, times_s, side="right") - 1, 0)]


def _digit_index(word: str) -> int:
    return DIGIT_WORDS.index(word) if word in DIGIT_WORDS else NO_DIGIT


def _losses(
    model: UnitEncoder, batch: Batch, settings: UnitEncoderTraining, *, align: bool, agree: bool
) -> dict[str, Tensor]:
    num_views = 2 if agree else 1
    features = model(batch.views[:num_views].flatten(0, 1), batch.mask.repeat(num_views, 1))
    features = features[:, : batch.digits.shape[1]]
    phone_logits = model.phone_head(features)
    phones = batch.phones
    if align and batch.to_align.any():
        phones = _aligned(phone_logits[: len(phones)], batch)
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


def _aligned(logits: Tensor, batch: Batch) -> Tensor:
    log_probs = logits.detach().float().log_softmax(-1).cpu().numpy()
    phones = batch.phones.clone()
    for row in np.flatnonzero(batch.to_align):
        digits = batch.digits[row][batch.digits[row] != IGNORED].cpu().numpy()
        edges = [0, *(np.flatnonzero(np.diff(digits)) + 1), len(digits)]
        for start, stop in pairwise(edges):
            if digits[start] == NO_DIGIT:
                phones[row, start:stop] = phone_index(SILENCE)
                continue
            if (start == 0) != (stop == len(digits)):
                continue  # it may be cut off there
            spoken = [phone_index(phone) for phone in DIGIT_PHONES[digits[start]]]
            path = best_path(log_probs[row, start:stop], spoken)
            phones[row, start:stop] = torch.from_numpy(path).to(phones.device)
    return phones


def _save(
    path: Path,
    step: int,
    settings: UnitEncoderTraining,
    model: UnitEncoder,
    optimizer: torch.optim.Optimizer,
) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name in ("exp_avg", "exp_avg_sq", "step"):
            tensors[f"optimizer.{index}.{name}"] = state[name]
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    temporary = path.with_suffix(".partial")
    metadata = {"step": str(step), "settings": json.dumps(_jsonable(settings))}
    save_file(tensors, temporary, metadata=metadata)
    temporary.replace(path)


def _resume(
    path: Path,
    settings: UnitEncoderTraining,
    model: UnitEncoder,
    optimizer: torch.optim.Optimizer,
) -> int:
    if not path.is_file():
        return 0
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        if json.loads(metadata["settings"]) != _jsonable(settings):
            raise TrainingError(
                f"{path}: expected a checkpoint of this configuration, received one of another; "
                "delete it or use another output folder"
            )
        step = int(metadata["step"])
        model.load_state_dict(
            {name: file.get_tensor(f"model.{name}") for name in model.state_dict()}
        )
        saved = optimizer.state_dict()
        saved["state"] = {
            index: {
                name: file.get_tensor(f"optimizer.{index}.{name}")
                for name in ("exp_avg", "exp_avg_sq", "step")
            }
            for index in range(len(list(model.parameters())))
            if f"optimizer.{index}.step" in file.keys()  # noqa: SIM118 (no mapping)
        }
        optimizer.load_state_dict(saved)
    logger.info("resumed at step %d from %s", step, path)
    return step


def _jsonable(settings: UnitEncoderTraining) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(settings)))
