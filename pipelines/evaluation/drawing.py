"""Pictures and sounds that a page carries inside itself."""

import base64
import colorsys
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import soundfile
from PIL import Image

_HEAT = np.array([[20, 18, 44], [86, 32, 96], [190, 60, 84], [244, 150, 90], [252, 240, 200]])


def png(pixels: np.ndarray) -> str:
    """Return a `data:` address of a picture `uint8 [H, W, 3]`."""
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def wav(samples: np.ndarray, rate_hz: int) -> str:
    """Return a `data:` address of a recording, 16 bits."""
    buffer = BytesIO()
    soundfile.write(buffer, np.clip(samples, -1, 1), rate_hz, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode()


def heat(levels: np.ndarray) -> np.ndarray:
    """Map values `[...]` in 0 … 1 to colours from dark to light, `uint8 [..., 3]`."""
    place = np.clip(levels, 0, 1) * (len(_HEAT) - 1)
    low = np.minimum(place.astype(int), len(_HEAT) - 2)
    share = (place - low)[..., None]
    return (_HEAT[low] * (1 - share) + _HEAT[low + 1] * share).astype(np.uint8)


def code_colour(code: int) -> str:
    """Return a colour for a code; neighbours in number differ.

    >>> code_colour(0)
    '#b03b3b'
    """
    hue = (code * 0.618033988749895) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.46 + 0.1 * (code % 3), 0.5)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def spectrogram(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the log-mel picture `uint8 [bands, frames, 3]`, low bands at the bottom."""
    import torch
    from torchaudio.transforms import MelSpectrogram

    padded = np.pad(samples, (0, max(0, 512 - len(samples))))
    mel = MelSpectrogram(
        sample_rate=rate_hz, n_fft=512, win_length=256, hop_length=max(rate_hz // 200, 1), n_mels=48
    )
    level = torch.log10(mel(torch.from_numpy(padded.copy())) + 1e-6).numpy()[::-1]
    low, high = np.percentile(level, (5, 99.8))
    return heat((level - low) / max(high - low, 1e-6))


def side_by_side(tiles: Sequence[np.ndarray], *, gap: int = 0) -> np.ndarray:
    """Return tiles of one size in a row, white between them."""
    height = tiles[0].shape[0]
    space = np.full((height, gap, 3), 255, np.uint8)
    parts = [part for tile in tiles for part in (tile, space)]
    return np.concatenate(parts[:-1] if gap else parts, axis=1)


def zipf_points(counts: np.ndarray, *, num_points: int = 120) -> str:
    """Return the points of use against rank, both on logarithmic scales, in a 100 x 100 box.

    >>> zipf_points(np.array([100, 10, 1]))
    '0.0,4.0 63.1,50.0 100.0,96.0'
    """
    used = counts[counts > 0]
    ranks = np.unique(np.geomspace(1, len(used), num_points).round().astype(int))
    top, bottom = np.log(max(used[0], 2)), 0.0
    x = 100 * np.log(ranks) / max(np.log(len(counts)), 1e-9)
    y = 96 - 92 * (np.log(used[ranks - 1]) - bottom) / (top - bottom)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
