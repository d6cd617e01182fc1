"""Spoken digits joined with pauses into one recording, by known speakers and synthetic voices."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipelines.speech.augmentation import perturb, vary
from pipelines.speech.clips import Clip, DigitSplit, load_digits
from pipelines.speech.digit_voices import cut_voices, formant_voices
from pipelines.speech.espeak import Span
from pipelines.speech.joining import EDGE_S, LATE_SHARE, LONG_EDGE_S, join
from pipelines.speech.revoicing import revoiced

RATE_HZ = 8000

_MIXED_SHARE = 0.3  # of the recordings have several speakers
_SYNTHETIC_SHARE = 0.35
_CUT_SHARE = 0.5  # of synthetic ones
_VARIED_SHARE = 0.6
_REVOICED_SHARE = 0.5
_BARE_SHARE = 0.35  # of single digits begin and end with the word, as they are cut for data sets
_NOISY_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Voices:
    """Clips of one digit each, by speaker.

    Attributes:
        recorded, synthetic, cut: speaker → clips, for people, for synthesizers, and for those of
            them whose voices are cut out of recordings of people.
    """

    recorded: dict[str, list[Clip]]
    synthetic: dict[str, list[Clip]]
    cut: dict[str, list[Clip]]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Digits said one after another.

    Attributes:
        samples: `float32 [n]` at 8 kHz, peak below 1.
        digits: what is said.
        spans_s: start and end of each, in seconds.
    """

    samples: np.ndarray
    digits: list[int]
    spans_s: list[tuple[float, float]]


def load_voices(folder: Path, split: DigitSplit, *, num_synthetic: int, seed: int) -> Voices:
    """Read one split of the digit recordings and let `num_synthetic` voices say all digits.

    They are of espeak-ng; where there are any, those of Flite and Festival that are installed join
    them.

    Raises:
        TrainingError: no recordings there.
        MissingExtraError: espeak-ng is needed and not installed.
    """
    recorded: dict[str, list[Clip]] = {}
    for clip in load_digits(folder, split, sample_rate_hz=RATE_HZ):
        recorded.setdefault(clip.speaker, []).append(clip)
    if not num_synthetic:
        return Voices(recorded=recorded, synthetic={}, cut={})
    rng = np.random.default_rng(seed)
    return Voices(
        recorded=recorded,
        synthetic=formant_voices(num_synthetic, rng, rate_hz=RATE_HZ),
        cut=cut_voices(rng, rate_hz=RATE_HZ),
    )


def record(
    voices: Voices, length: int, rng: np.random.Generator, *, augment: bool = True
) -> Recording:
    """Let one voice, or several, say digits drawn at random.

    Args:
        length: number of digits, see `pipelines.speech.joining.join`.
        augment: other speeds, formants, rooms, colours and noise; synthetic voices.
    """
    pools = voices.recorded
    if augment and voices.synthetic and rng.random() < _SYNTHETIC_SHARE:
        is_cut = voices.cut and rng.random() < _CUT_SHARE
        pools = voices.cut if is_cut else voices.synthetic
    names = sorted(pools)
    speaker = names[rng.integers(len(names))]
    is_mixed = rng.random() < _MIXED_SHARE
    is_revoiced = augment and rng.random() < _REVOICED_SHARE
    formants, tempo = float(rng.uniform(0.84, 1.2)), float(rng.uniform(0.8, 1.25))
    said = []
    for _ in range(length):
        name = names[rng.integers(len(names))] if is_mixed else speaker
        clip = pools[name][rng.integers(len(pools[name]))]
        samples = clip.samples * float(rng.uniform(0.5, 1.0))
        if is_revoiced:
            samples = revoiced(samples, formants=formants, tempo=tempo)
        if augment and rng.random() < _VARIED_SHARE:
            samples = vary(samples, rng, speed=float(rng.uniform(0.85, 1.18)))
        said.append(replace(clip, samples=samples))
    is_bare = augment and length == 1 and rng.random() < _BARE_SHARE
    is_late = augment and rng.random() < LATE_SHARE
    edges_s = LONG_EDGE_S if is_late else EDGE_S
    clip = said[0] if is_bare else join(said, rng, rate_hz=RATE_HZ, edges_s=edges_s)
    joined = clip.samples
    if augment and rng.random() < _NOISY_SHARE:
        joined = perturb(joined, rng, min_noise=0.003, max_noise=0.1)
    quieter = joined / max(1.0, float(np.abs(joined).max()) / 0.95)
    words = (*clip.words, Span(start_s=len(joined) / RATE_HZ, label=""))
    return Recording(
        samples=quieter.astype(np.float32),
        digits=clip.digits,
        spans_s=[(span.start_s, after.start_s) for span, after in pairwise(words) if span.label],
    )
