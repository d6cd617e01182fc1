"""The ten digits as synthesizers say them: clips of one word each, like recorded digits.

Formant voices of espeak-ng, and those of Flite and Festival, which are cut out of recordings of
people. Which are there depends on what is installed.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from pipelines.speech import festival, flite
from pipelines.speech.clips import BASE_VOICES, VOICE_VARIANTS, Clip, resampled
from pipelines.speech.espeak import Espeak, Span, Speech
from pipelines.speech.word_lists import DIGIT_WORDS

Say = Callable[[str], Speech]


def formant_voices(
    count: int, rng: np.random.Generator, *, rate_hz: int, times: int = 2
) -> dict[str, list[Clip]]:
    """Return `count` voices of espeak-ng, each saying all digits `times` times.

    Raises:
        MissingExtraError: espeak-ng is not installed.
    """
    names = sorted({f"{base}+{v}".rstrip("+") for base in BASE_VOICES for v in VOICE_VARIANTS})
    voices = {}
    for name in map(str, rng.permutation(names)[:count]):
        clips = []
        for _ in range(times):
            pace, pitch = int(rng.integers(110, 220)), int(rng.integers(15, 85))
            say = partial(Espeak().speak, voice=name, words_per_minute=pace, pitch=pitch)
            clips += _digits(say, name, rate_hz)
        voices[name] = clips
    return voices


def cut_voices(rng: np.random.Generator, *, rate_hz: int, times: int = 4) -> dict[str, list[Clip]]:
    """Return the voices of Flite and Festival that are installed, each saying all digits."""
    voices: dict[str, list[Clip]] = {}
    for voice in flite.VOICES if flite.is_installed() else ():
        name = f"flite-{voice}"
        for _ in range(times):
            stretch, pitch_hz = float(rng.uniform(0.8, 1.4)), float(rng.uniform(85, 230))
            say = partial(flite.speak, voice=voice, stretch=stretch, pitch_hz=pitch_hz)
            voices.setdefault(name, []).extend(_digits(say, name, rate_hz))
    for voice in festival.installed_voices():
        name = f"festival-{voice}"
        for _ in range(times):
            say = partial(festival.speak, voice=voice, stretch=float(rng.uniform(0.75, 1.3)))
            voices.setdefault(name, []).extend(_digits(say, name, rate_hz))
    return voices


def _digits(say: Say, speaker: str, rate_hz: int) -> list[Clip]:
    clips = []
    for word in DIGIT_WORDS:
        speech = say(word)
        samples = resampled(speech.samples, speech.sample_rate_hz, rate_hz)
        said = Span(start_s=0.0, label=word)
        clips.append(Clip(samples=_trimmed(samples), speaker=speaker, words=(said,)))
    return clips


def _trimmed(samples: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples
