"""Small sample files that the project makes itself: pictures, recordings and texts to try DVSE on.

    python -m pipelines.samples DIR

`KNOWN` are of the kinds that `tiny` was made for: drawings of 32×32 pixels and digits spoken by
espeak-ng, synthesised ahead. The others show what it says to things that it does not know. Two
photographs come from scikit-learn; the rest is drawn or computed, the same bytes each time.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageDraw

from pipelines.tiny.conversations.drawn_kinds import drawn_kind

SAMPLE_RATE_HZ = 16000

KNOWN: Mapping[str, str] = {
    "cat.png": "cat",
    "deer.png": "deer",
    "horse.png": "horse",
    "ship.png": "ship",
    "truck.png": "truck",
    "seven.flac": "seven",
    "three-one-four.flac": "three one four",
}
"""Samples that `tiny` can do, with what their caption names."""

_SPOKEN = Path(__file__).with_name("spoken")
_SEED = 1_000_003  # training draws with other ones

_TEXTS = {
    "greeting.txt": "Good morning. How are you today?",
    "问候.txt": "早上好。你今天怎么样？",
    "code with spaces.txt": "def double(x):\n    return 2 * x  # <|user|> stays text\n",
}

# First three formants (Hz) of five vowels: Peterson & Barney 1952, mean of men.
_VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}


def make_samples(folder: Path) -> list[Path]:
    """Write the samples into `folder` and return their paths, sorted.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in _TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in KNOWN:
        if name.endswith(".png"):
            drawing = drawn_kind(name.removesuffix(".png"), np.random.default_rng(_SEED))
            Image.fromarray(drawing).save(folder / name)
        else:
            (folder / name).write_bytes((_SPOKEN / name).read_bytes())
    for name, draw in _PICTURES.items():
        draw().save(folder / name)
    for name, sound in _SOUNDS.items():
        samples = sound()
        soundfile.write(folder / name, samples / np.abs(samples).max() * 0.5, SAMPLE_RATE_HZ)
    return sorted(folder.iterdir())


def _photograph(name: str) -> Image.Image:
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image(name))


def _shapes() -> Image.Image:
    picture = Image.new("RGB", (256, 256), "#dfeaf2")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 170, 256, 256), fill="#6f9d5c")
    draw.ellipse((170, 24, 226, 80), fill="#f2c14e")
    draw.rectangle((60, 110, 150, 200), fill="#b5543c")
    draw.polygon(((50, 110), (160, 110), (105, 62)), fill="#5b3a29")
    draw.rectangle((95, 150, 118, 200), fill="#f5efe6")
    return picture


def _gradient() -> Image.Image:
    y, x = np.mgrid[0:96, 0:192] / (96, 192)[0]
    pixels = np.stack([x / 2, y, 0.5 + 0.5 * np.sin(6 * x)], axis=-1)
    return Image.fromarray((pixels * 255).astype(np.uint8))


def _cut_out() -> Image.Image:
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((8, 8, 56, 56), fill=(46, 94, 170, 255))
    return picture


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


_PICTURES: dict[str, Callable[[], Image.Image]] = {
    "china.jpg": lambda: _photograph("china.jpg"),
    "flower.jpg": lambda: _photograph("flower.jpg"),
    "house.png": _shapes,
    "gradient.png": _gradient,
    "cut-out.png": _cut_out,
}
_SOUNDS: dict[str, Callable[[], np.ndarray]] = {
    "vowels.wav": _vowels,
    "tones.flac": _tones,
    "sweep.ogg": _sweep,
}


def main() -> int:
    """Write the samples where the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for path in make_samples(parser.parse_args().folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
