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


def waveform(samples: np.ndarray, *, width: int = 480, height: int = 96) -> np.ndarray:
    """Return the lowest and highest sample of each column as a picture `uint8 [height, width, 3]`.

    Full scale fills the height; digital silence is a line in the middle.

    >>> waveform(np.array([1.0, -1.0]), width=1, height=5)[:, 0, 0].tolist()
    [47, 47, 47, 47, 47]
    """
    picture = np.full((height, width, 3), 245, dtype=np.uint8)
    edges = np.linspace(0, len(samples), width + 1).astype(int).tolist()
    row = np.arange(height)
    for column in range(width):
        part = samples[edges[column] : max(edges[column + 1], edges[column] + 1)]
        high, low = (float(part.max()), float(part.min())) if len(part) else (0.0, 0.0)
        top, bottom = (round((1 - np.clip(v, -1, 1)) / 2 * (height - 1)) for v in (high, low))
        picture[(row >= top) & (row <= bottom), column] = (47, 109, 181)
    return picture


def heat(levels: np.ndarray) -> np.ndarray:
    """Map values `[...]` in 0 … 1 to colours from dark to light, `uint8 [..., 3]`."""
    place = np.clip(levels, 0, 1) * (len(_HEAT) - 1)
    low = np.minimum(place.astype(int), len(_HEAT) - 2)
    share = (place - low)[..., None]
    return (_HEAT[low] * (1 - share) + _HEAT[low + 1] * share).astype(np.uint8)


def code_rgb(code: int, num_codes: int) -> tuple[int, int, int]:
    """Return the colour of a code, each channel 0 … 255; neighbours in number differ.

    The page of the server paints codes alike (`server/page/code_view.js`).

    >>> code_rgb(0, 1024)
    (178, 52, 52)
    """
    hue = (code * 0.618033988749895) % 1.0
    lightness = 0.45 + 0.25 * ((code * 7) % num_codes) / num_codes
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.55)
    return round(255 * red), round(255 * green), round(255 * blue)


def code_colour(code: int, num_codes: int) -> str:
    """Return the colour of a code as a page writes it.

    >>> code_colour(0, 1024)
    '#b23434'
    """
    return "#{:02x}{:02x}{:02x}".format(*code_rgb(code, num_codes))


def code_picture(codes: np.ndarray, num_codes: int) -> np.ndarray:
    """Return a grid of codes `int [h, w]` as colours, `uint8 [h, w, 3]`."""
    flat = [code_rgb(int(code), num_codes) for code in codes.reshape(-1)]
    return np.array(flat, dtype=np.uint8).reshape(*codes.shape, 3)


def usage_bars(ranked: np.ndarray, *, max_bars: int = 1024) -> list[float]:
    """Return heights 0 … 1 of bars, most used code first; neighbours are averaged if too many.

    >>> usage_bars(np.array([4, 2, 0]))
    [1.0, 0.5, 0.0]
    """
    counts = ranked.astype(float)
    if len(counts) > max_bars:
        counts = np.array([part.mean() for part in np.array_split(counts, max_bars)])
    return (counts / max(counts.max(), 1)).round(4).tolist()


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
