"""A page that shows token shards to a person: `write_token_report`.

Each picture stands beside its reconstruction from tokens, each recording's spectrogram over its
units, and how often each code is used. One HTML file, nothing to fetch.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from dvse.chunk import Chunk
from dvse.encoding import AudioSegment, ImageSegment
from dvse.errors import DvseError
from dvse.items import Audio
from dvse.items import Image as ImageItem
from dvse.remote.remote_path import Location
from dvse.storage.shard import find_shards, read_shard
from dvse.tokenizer import Tokenizer
from pipelines.codebooks.usage import count_codes
from pipelines.reports.drawing import code_colour, code_picture, png, spectrogram, usage_bars

_MAX_FRAMES = 500
_MOST_SHOWN = 200


def write_token_report(shards: Location, output: Path, tokenizer: Tokenizer) -> None:
    """Write the page for the shards in a directory: the first 200 inputs, counts of all.

    Args:
        shards: directory that `dvse tokenize` wrote.
        output: the HTML file.
        tokenizer: with the bundle that made the shards.

    Raises:
        ShardError: a shard cannot be read.
    """
    codes: dict[str, list[np.ndarray]] = {"image": [], "audio": []}
    shown: list[dict[str, Any]] = []
    num_rows = num_ids = 0
    for row in _rows(shards):
        num_rows += 1
        num_ids += len(row["ids"])
        segments = tokenizer.decode(row["ids"], render=num_rows <= _MOST_SHOWN)
        for segment in segments:
            if isinstance(segment, ImageSegment):
                codes["image"].append(segment.codes[..., 0])
            elif isinstance(segment, AudioSegment):
                codes["audio"].append(segment.units[:, 0])
        if num_rows <= _MOST_SHOWN:
            shown.append(_card(row, segments, tokenizer))
    vocabulary = tokenizer.vocabulary
    usages = [
        (m, count_codes(np.concatenate([c.reshape(-1) for c in found]), vocabulary.num_codes(m)))
        for m, found in codes.items()
        if found
    ]
    environment = Environment(loader=PackageLoader("pipelines.reports"), autoescape=True)
    page = environment.get_template("token_report.html.j2").render(
        tokenizer=tokenizer,
        rows=shown,
        num_rows=num_rows,
        num_ids=num_ids,
        usages=[{"modality": m, "usage": u, "chart": usage_bars(u.ranked)} for m, u in usages],
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")


def _rows(shards: Location) -> Iterator[dict[str, Any]]:
    for path in find_shards(shards):
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
    view["codes"] = png(code_picture(segment.codes[..., 0], num_codes))
    if segment.pixels is not None:
        view["rebuilt"] = png(segment.pixels)
        if (chunk := _first_chunk(ImageItem(row["source"]), tokenizer)) is not None:
            error = np.mean((np.asarray(chunk.data, float) - segment.pixels) ** 2)
            view["original"] = png(np.asarray(chunk.data))
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
            {"code": int(c), "frames": int(n), "colour": code_colour(int(c), num_codes)}
            for c, n in zip(units, lengths, strict=True)
        ],
        "num_frames": int(sum(lengths)),
    }
    if (chunk := _first_chunk(Audio(row["source"]), tokenizer)) is not None:
        rate = tokenizer.audio.sample_rate_hz  # type: ignore[union-attr]
        shown_s = view["num_frames"] / segment.frame_rate_hz
        view["spectrogram"] = png(spectrogram(np.asarray(chunk.data)[: int(shown_s * rate)], rate))
    return view


def _pieces(row: dict[str, Any], tokenizer: Tokenizer) -> list[dict[str, str]]:
    size = tokenizer.vocabulary.text_size
    return [
        {
            "piece": tokenizer.name_of(i).replace("▁", "␣"),
            "id": str(i),
            "colour": code_colour(i, 8),
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
