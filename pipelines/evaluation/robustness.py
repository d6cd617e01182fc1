"""Small changes of an input that should not change what it says, and the codes they do change."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from types import MappingProxyType

import numpy as np
from PIL import Image

from dvse.tokenizer import Tokenizer
from pipelines.evaluation.encoded import EncodedInput, encode_data

Change = Callable[[np.ndarray], np.ndarray]


def add_noise(samples: np.ndarray, *, share: float = 0.05) -> np.ndarray:
    """Return samples with white noise of `share` of their RMS, the same noise every time."""
    noise = np.random.default_rng(0).standard_normal(len(samples))
    loudness = np.sqrt(np.mean(samples.astype(np.float64) ** 2))
    return (samples + share * loudness * noise).astype(np.float32)


def shift_samples(samples: np.ndarray) -> np.ndarray:
    """Return the samples without the first one."""
    return samples[1:]


def gain(samples: np.ndarray, *, decibels: float = 0.5) -> np.ndarray:
    """Return louder samples."""
    return (samples * 10 ** (decibels / 20)).astype(np.float32)


def shift_pixels(pixels: np.ndarray) -> np.ndarray:
    """Return a picture moved right by one pixel; the first column is repeated."""
    return np.concatenate([pixels[:, :1], pixels[:, :-1]], axis=1)


def compress(pixels: np.ndarray, *, quality: int = 90) -> np.ndarray:
    """Return what JPEG leaves of a picture."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(BytesIO(buffer.getvalue())))


AUDIO_CHANGES: Mapping[str, Change] = MappingProxyType(
    {"noise_5_percent": add_noise, "shift_1_sample": shift_samples, "gain_0_5_db": gain}
)
IMAGE_CHANGES: Mapping[str, Change] = MappingProxyType(
    {"shift_1_pixel": shift_pixels, "jpeg_quality_90": compress}
)


def share_changed(
    tokenizer: Tokenizer, modality: str, inputs: Sequence[EncodedInput]
) -> dict[str, float]:
    """Return for each change the share of first-level codes that it alters, 0 … 1."""
    changes = AUDIO_CHANGES if modality == "audio" else IMAGE_CHANGES
    return {
        name: share_different(
            [entry.codes[:, 0] for entry in inputs],
            [
                codes[:, 0]
                for codes in encode_data(
                    tokenizer, modality, [change(e.data) for e in inputs], inputs
                )
            ],
        )
        for name, change in changes.items()
    }


def share_different(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> float:
    """Return the share of codes that differ; of two rows of codes, as far as both go.

    >>> share_different([np.array([1, 2, 3])], [np.array([1, 9])])
    0.5
    """
    different = total = 0
    for old, new in zip(before, after, strict=True):
        count = min(len(old), len(new))
        different += int((old[:count] != new[:count]).sum())
        total += count
    return different / max(total, 1)
