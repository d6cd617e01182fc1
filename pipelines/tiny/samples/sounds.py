"""Sounds that are computed, the same samples each time: a voice, notes, a sweep."""

from collections.abc import Callable

import numpy as np

SAMPLE_RATE_HZ = 16000

# First three formants (Hz) of five vowels: Peterson & Barney 1952, mean of men.
_VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}


def _vowels() -> np.ndarray:
    """A voice that glides: a pulse train through three resonances a vowel."""
    parts = [_vowel(formants, pitch_hz=120 - 6 * i) for i, formants in enumerate(_VOWELS.values())]
    silence = np.zeros(SAMPLE_RATE_HZ // 10)
    return np.concatenate([x for part in parts for x in (part, silence)])


def _vowel(formants: tuple[int, ...], *, pitch_hz: float) -> np.ndarray:
    from scipy.signal import lfilter

    num_samples = int(0.35 * SAMPLE_RATE_HZ)
    phase = np.cumsum(np.linspace(pitch_hz, 0.9 * pitch_hz, num_samples)) / SAMPLE_RATE_HZ
    signal = np.diff(np.floor(phase), prepend=0.0)
    for frequency in formants:
        radius = np.exp(-np.pi * 80 / SAMPLE_RATE_HZ)
        angle = 2 * np.pi * frequency / SAMPLE_RATE_HZ
        signal = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], signal)
    return signal * np.hanning(num_samples) ** 0.25


def _tones() -> np.ndarray:
    times = np.arange(int(0.25 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    notes = [np.sin(2 * np.pi * f * times) * np.exp(-6 * times) for f in (262, 330, 392, 523)]
    return np.concatenate(notes)


def _sweep() -> np.ndarray:
    times = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    sweep = np.sin(2 * np.pi * (100 * times + 475 * times**2))
    return sweep + 0.05 * np.random.default_rng(0).standard_normal(len(times))


SOUNDS: dict[str, Callable[[], np.ndarray]] = {
    "vowels.wav": _vowels,
    "tones.flac": _tones,
    "sweep.ogg": _sweep,
}
"""Name of the file → how its samples are made, of any loudness."""
