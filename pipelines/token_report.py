"""A page that shows token shards to a person: `write_token_report`.

Each picture stands beside its reconstruction from tokens, each recording's spectrogram over its
units, and how often each code is used. One HTML file, nothing to fetch.
"""

import base64
import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image

from dvse.chunk import Chunk
from dvse.encoding import AudioSegment, ImageSegment
from dvse.errors import DvseError
from dvse.items import Audio
from dvse.items import Image as ImageItem
from dvse.shard import PATTERN, read_shard
from dvse.tokenizer import Tokenizer

_NUM_BANDS = 64
_MAX_FRAMES = 500
_MAX_BARS = 1024


@dataclass(frozen=True, kw_only=True)
class Usage:
    """How often the codes of one codebook occur.

    Attributes:
        modality: `image` or `audio`.
        counts: `int64 [num_codes]`, most used first.
        share_used: share of codes that occur at all, 0 … 1.
        perplexity: 2 to the entropy of the distribution, 1 … num_codes.
        total: codes in all.
    """

    modality: str
    counts: np.ndarray
    share_used: float
    perplexity: float
    total: int


def code_usage(modality: str, codes: np.ndarray, num_codes: int) -> Usage:
    """Count codes.

    >>> usage = code_usage("image", np.array([0, 0, 1, 1]), 4)
    >>> usage.share_used, usage.perplexity
    (0.5, 2.0)
    """
    counts = np.bincount(codes.reshape(-1), minlength=num_codes)
    share = counts[counts > 0] / max(counts.sum(), 1)
    entropy = float(-(share * np.log2(share)).sum())
    return Usage(
        modality=modality,
        counts=np.sort(counts)[::-1],
        share_used=float((counts > 0).mean()),
        perplexity=2.0**entropy,
        total=int(counts.sum()),
    )


def write_token_report(
    shards: Path, output: Path, tokenizer: Tokenizer, *, max_rows: int = 200
) -> None:
    """Write the page for the shards in a directory.

    Args:
        shards: directory that `dvse tokenize` wrote.
        output: the HTML file.
        tokenizer: with the bundle that made the shards.
        max_rows: inputs shown one by one; all are counted.

    Raises:
        ShardError: a shard cannot be read.
    """
    codes: dict[str, list[np.ndarray]] = {"image": [], "audio": []}
    shown: list[dict[str, Any]] = []
    num_rows = num_ids = 0
    for row in _rows(shards):
        num_rows += 1
        num_ids += len(row["ids"])
        segments = tokenizer.decode(row["ids"], render=num_rows <= max_rows)
        for segment in segments:
            if isinstance(segment, ImageSegment):
                codes["image"].append(segment.codes[..., 0])
            elif isinstance(segment, AudioSegment):
                codes["audio"].append(segment.units[:, 0])
        if num_rows <= max_rows:
            shown.append(_card(row, segments, tokenizer))
    usages = [
        code_usage(
            m, np.concatenate([c.reshape(-1) for c in found]), tokenizer.vocabulary.num_codes(m)
        )
        for m, found in codes.items()
        if found
    ]
    environment = Environment(loader=PackageLoader("pipelines"), autoescape=True)
    page = environment.get_template("token_report.html.j2").render(
        tokenizer=tokenizer,
        rows=shown,
        num_rows=num_rows,
        num_ids=num_ids,
        usages=[{"usage": u, "chart": _usage_chart(u)} for u in usages],
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")


def _rows(shards: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(shards.glob(PATTERN)):
        yield from read_shard(path).to_pylist()


def _card(row: dict[str, Any], segments: Sequence[Any], tokenizer: Tokenizer) -> dict[str, Any]:
    media = []
    for segment in segments:
        if isinstance(segment, ImageSegment):
            media.append(_image_view(row, segment, tokenizer))
        elif isinstance(segment, AudioSegment):
            media.append(_audio_view(row, segment, tokenizer))
        elif segment.modality == "text":
            media.append({"kind": "text", "pieces": _pieces(row, tokenizer), "text": segment.text})
        else:
            media.append({"kind": "special", "name": segment.name})
    return {
        "name": Path(row["source"] or row["id"]).name,
        "modality": row["modality"],
        "num_ids": len(row["ids"]),
        "first_ids": row["ids"][:12],
        "caption": row["text"] if row["modality"] != "text" else None,
        "media": media,
    }


def _image_view(row: dict[str, Any], segment: ImageSegment, tokenizer: Tokenizer) -> dict[str, Any]:
    height, width = segment.grid
    view: dict[str, Any] = {"kind": "image", "grid": f"{height}×{width}", "original": None}
    num_codes = tokenizer.vocabulary.num_codes("image")
    view["codes"] = _png(_code_colours(segment.codes[..., 0], num_codes))
    if segment.pixels is not None:
        view["rebuilt"] = _png(segment.pixels)
        if (chunk := _first_chunk(ImageItem(row["source"]), tokenizer)) is not None:
            error = np.mean((np.asarray(chunk.data, float) - segment.pixels) ** 2)
            view["original"] = _png(np.asarray(chunk.data))
            view["psnr"] = f"{10 * np.log10(255**2 / max(error, 1e-9)):.1f} dB"
    return view


def _audio_view(row: dict[str, Any], segment: AudioSegment, tokenizer: Tokenizer) -> dict[str, Any]:
    units = segment.units[:_MAX_FRAMES, 0]
    lengths = (row["durations"] or [1] * len(units))[: len(units)]
    num_codes = tokenizer.vocabulary.num_codes("audio")
    view: dict[str, Any] = {
        "kind": "audio",
        "seconds": row["duration_s"],
        "rate": segment.frame_rate_hz,
        "units": [
            {"code": int(c), "frames": int(n), "colour": _colour(int(c), num_codes)}
            for c, n in zip(units, lengths, strict=True)
        ],
        "num_frames": int(sum(lengths)),
    }
    if (chunk := _first_chunk(Audio(row["source"]), tokenizer)) is not None:
        shown_s = view["num_frames"] / segment.frame_rate_hz
        view["spectrogram"] = _png(_spectrogram(chunk, shown_s, tokenizer))
    return view


def _pieces(row: dict[str, Any], tokenizer: Tokenizer) -> list[dict[str, str]]:
    size = tokenizer.vocabulary.text_size
    return [
        {
            "piece": tokenizer.name_of(i).replace("▁", "␣"),
            "id": str(i),
            "colour": _colour(i, 8),
        }
        for i in row["ids"][:200]
        if i < size
    ]


def _first_chunk(item: ImageItem | Audio, tokenizer: Tokenizer) -> Chunk | None:
    """What the encoder saw, `None` where the source is not at hand any more."""
    if not isinstance(item.source, str):
        return None
    try:
        return next(iter(tokenizer.preparer.chunks([item])), None)
    except DvseError:
        return None


def _spectrogram(chunk: Chunk, seconds: float, tokenizer: Tokenizer) -> np.ndarray:
    """Log-mel picture `uint8 [bands, frames, 3]` of the first seconds, low bands at the bottom."""
    import torch
    from torchaudio.transforms import MelSpectrogram

    rate = tokenizer.audio.sample_rate_hz  # type: ignore[union-attr]
    samples = torch.from_numpy(np.asarray(chunk.data)[: max(int(seconds * rate), 512)].copy())
    mel = MelSpectrogram(
        sample_rate=rate, n_fft=512, hop_length=max(rate // 200, 1), n_mels=_NUM_BANDS
    )
    level = torch.log10(mel(samples) + 1e-6).numpy()[::-1]
    scaled = (level - level.min()) / max(float(np.ptp(level)), 1e-6)
    return _warm(scaled)


def _warm(level: np.ndarray) -> np.ndarray:
    """Map 0 … 1 to a dark-to-light colour scale."""
    stops = np.array([[20, 18, 44], [86, 32, 96], [190, 60, 84], [244, 150, 90], [252, 240, 200]])
    place = np.clip(level, 0, 1) * (len(stops) - 1)
    low = np.minimum(place.astype(int), len(stops) - 2)
    share = (place - low)[..., None]
    return (stops[low] * (1 - share) + stops[low + 1] * share).astype(np.uint8)


def _code_colours(codes: np.ndarray, num_codes: int) -> np.ndarray:
    flat = [_rgb(int(c), num_codes) for c in codes.reshape(-1)]
    return np.array(flat, dtype=np.uint8).reshape(*codes.shape, 3)


def _rgb(code: int, num_codes: int) -> tuple[int, int, int]:
    hue = (code * 0.618033988749895) % 1.0
    lightness = 0.45 + 0.25 * ((code * 7) % num_codes) / num_codes
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.55)
    return round(255 * red), round(255 * green), round(255 * blue)


def _colour(code: int, num_codes: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*_rgb(code, num_codes))


def _usage_chart(usage: Usage) -> list[float]:
    """Heights 0 … 1 of the bars, most used code first; neighbours are averaged if too many."""
    counts = usage.counts.astype(float)
    if len(counts) > _MAX_BARS:
        counts = np.array([part.mean() for part in np.array_split(counts, _MAX_BARS)])
    return (counts / max(counts.max(), 1)).round(4).tolist()


def _png(pixels: np.ndarray) -> str:
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
