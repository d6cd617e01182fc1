"""Writing the samples: what `tiny` knows, and texts, pictures and sounds that it does not."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from pipelines.tiny.conversations.drawn_kinds import drawn_kind
from pipelines.tiny.samples.pictures import PICTURES
from pipelines.tiny.samples.sounds import SAMPLE_RATE_HZ, SOUNDS

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
_SEED = 1_000_042  # training draws with other ones

_TEXTS = {
    "greeting.txt": "Good morning. How are you today?",
    "问候.txt": "早上好。你今天怎么样？",
    "code with spaces.txt": "def double(x):\n    return 2 * x  # <|user|> stays text\n",
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
    for name, draw in PICTURES.items():
        draw().save(folder / name)
    for name, sound in SOUNDS.items():
        samples = sound()
        soundfile.write(folder / name, samples / np.abs(samples).max() * 0.5, SAMPLE_RATE_HZ)
    return sorted(folder.iterdir())
