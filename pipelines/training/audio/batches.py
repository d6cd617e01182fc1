"""Batches of speech: joined words, crops and labels a frame, in a fixed random order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dvse.audio.windows import FrameGrid
from pipelines.speech.augmentation import perturb, vary
from pipelines.speech.clips import Clip
from pipelines.speech.espeak import SILENCE, Span
from pipelines.speech.joining import digit_sequence, join, stretch
from pipelines.speech.phones import phone_index
from pipelines.speech.revoicing import revoiced
from pipelines.speech.word_lists import DIGIT_WORDS
from pipelines.training.audio.encoder import IGNORED, NO_DIGIT, UnitEncoder
from pipelines.training.audio.settings import UnitEncoderTraining

KINDS = ("digits", "sequences", "synthetic", "synthetic")
"""What the batches of a step are made of."""


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


def training_batches(
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
        samples, tempo = clip.samples, 1.0
        if rng.random() < settings.revoiced_share:
            formants, tempo = float(rng.uniform(0.82, 1.22)), float(rng.uniform(0.8, 1.3))
            samples = revoiced(samples, formants=formants, tempo=tempo)
        base = vary(samples, rng, speed=speed)
        shift = int(rng.integers(0, 24))
        first = perturb(base, rng, min_noise=0.003, max_noise=0.3)
        second = perturb(first, rng, min_noise=0.03, max_noise=0.15)
        firsts.append(_normalised(first[: len(first) - shift]))
        seconds.append(_normalised(second[shift:]))
        speeds.append(speed * tempo)
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
