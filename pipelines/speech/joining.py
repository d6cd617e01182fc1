"""Clips said one after another: joined with pauses into one recording that still says when."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipelines.speech.clips import Clip
from pipelines.speech.espeak import SILENCE, Span

EDGE_S = (0.0, 0.3)
LONG_EDGE_S = (0.3, 1.3)
"""How long it may be silent before and after what is said, and where one waits before speaking."""
LATE_SHARE = 0.15
"""Of recordings to learn from in which one waits."""

_PAUSE_S = (0.08, 0.6)
_LOUDNESS = (0.0, 0.0003, 0.002)  # of a pause: digital silence, or the hiss of a room


def join(
    clips: Sequence[Clip],
    rng: np.random.Generator,
    *,
    rate_hz: int,
    edges_s: tuple[float, float] = EDGE_S,
) -> Clip:
    """Return one clip that says `clips` in order, 0.08 to 0.6 s apart, between two silences.

    These are between `edges_s` long, each drawn by itself.

    Its words are those of the clips; its phones as well, if every clip brings some.

    >>> two = [Clip(samples=np.ones(800, np.float32), words=(Span(start_s=0.0, label="six"),))] * 2
    >>> [span.label for span in join(two, np.random.default_rng(0), rate_hz=8000).words]
    ['', 'six', '', 'six', '']
    """
    pieces = [_pause(rng, edges_s, rate_hz)]
    words, phones = [Span(start_s=0.0, label="")], [Span(start_s=0.0, label=SILENCE)]
    for number, clip in enumerate(clips):
        pieces += [_pause(rng, _PAUSE_S, rate_hz)] if number else []
        begin_s = sum(map(len, pieces)) / rate_hz
        pieces.append(clip.samples)
        end_s = begin_s + len(clip.samples) / rate_hz
        words += [*_later(clip.words, begin_s), Span(start_s=end_s, label="")]
        phones += [*_later(clip.phones, begin_s), Span(start_s=end_s, label=SILENCE)]
    pieces.append(_pause(rng, edges_s, rate_hz))
    return Clip(
        samples=np.concatenate(pieces),
        words=tuple(words),
        phones=tuple(phones) if all(clip.phones for clip in clips) else (),
    )


def digit_sequence(digits: Sequence[Clip], rng: np.random.Generator, *, rate_hz: int) -> Clip:
    """Return two to six of `digits` joined, drawn at random, each as loud as it likes."""
    drawn = [digits[i] for i in rng.choice(len(digits), int(rng.integers(2, 7)))]
    uneven = [replace(c, samples=c.samples * np.float32(rng.uniform(0.5, 1.0))) for c in drawn]
    return join(uneven, rng, rate_hz=rate_hz)


def stretch(clip: Clip, rng: np.random.Generator, *, most_s: float, rate_hz: int) -> Clip:
    """Return a stretch of a clip, `most_s` long at most; words may be cut off at its ends."""
    num_samples = int(most_s * rate_hz)
    if len(clip.samples) <= num_samples:
        return clip
    start = int(rng.integers(len(clip.samples) - num_samples + 1))
    return replace(
        clip,
        samples=clip.samples[start : start + num_samples],
        words=tuple(_later(clip.words, -start / rate_hz)),
        phones=tuple(_later(clip.phones, -start / rate_hz)),
    )


def _later(spans: Sequence[Span], by_s: float) -> list[Span]:
    return [Span(start_s=span.start_s + by_s, label=span.label) for span in spans]


def _pause(rng: np.random.Generator, length_s: tuple[float, float], rate_hz: int) -> np.ndarray:
    num_samples = int(rng.uniform(*length_s) * rate_hz)
    loudness = float(rng.choice(_LOUDNESS))
    return (loudness * rng.standard_normal(num_samples)).astype(np.float32)
