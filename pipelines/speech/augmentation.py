"""Changes to a clip that must not change what it says: speed, colour, room, noise, shift, gain.

`vary` makes another speaker in another room out of a clip; `perturb` makes the same recording
again, slightly worse. Every function takes its own random generator.
"""

import numpy as np


def vary(samples: np.ndarray, rng: np.random.Generator, *, speed: float) -> np.ndarray:
    """Return the clip at another speed (pitch and formants move along), equalised, in a room.

    >>> vary(np.ones(100, np.float32), np.random.default_rng(0), speed=2.0).shape
    (50,)
    """
    num_samples = max(1, round(len(samples) / speed))
    positions = np.arange(num_samples) * speed
    moved = np.interp(positions, np.arange(len(samples)), samples)
    spectrum = np.fft.rfft(moved, n=len(moved) + 1024)
    spectrum *= _random_colour(len(spectrum), rng)
    if rng.random() < 0.4:
        spectrum *= np.fft.rfft(_random_room(rng), n=len(moved) + 1024)
    return np.fft.irfft(spectrum, n=len(moved) + 1024)[: len(moved)].astype(np.float32)


def perturb(
    samples: np.ndarray, rng: np.random.Generator, *, min_noise: float, max_noise: float
) -> np.ndarray:
    """Return the clip with white or pink noise added, and clipped a little now and then.

    Args:
        min_noise, max_noise: the noise's RMS as a share of the clip's; drawn on a log scale.
    """
    rms = float(np.sqrt(np.mean(np.square(samples))) + 1e-5)
    share = float(np.exp(rng.uniform(np.log(min_noise), np.log(max_noise))))
    noise = rng.standard_normal(len(samples))
    if rng.random() < 0.4:
        spectrum = np.fft.rfft(noise)
        spectrum /= np.sqrt(np.arange(len(spectrum)) + 10.0)
        noise = np.fft.irfft(spectrum, n=len(samples))
        noise /= np.std(noise) + 1e-9
    return (samples + rms * share * noise).astype(np.float32)


def _random_colour(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a smooth random frequency response of -8 … 8 dB."""
    anchors = rng.uniform(-8, 8, size=int(rng.integers(2, 7)))
    decibels = np.interp(np.linspace(0, len(anchors) - 1, size), np.arange(len(anchors)), anchors)
    return 10 ** (decibels / 20)


def _random_room(rng: np.random.Generator) -> np.ndarray:
    """Return a short decaying impulse response whose first tap is the direct sound."""
    length = int(rng.integers(100, 1000))
    decay = np.exp(-np.arange(length) / (length / rng.uniform(3, 8)))
    response = rng.standard_normal(length) * decay * rng.uniform(0.02, 0.15)
    response[0] = 1.0
    return response
