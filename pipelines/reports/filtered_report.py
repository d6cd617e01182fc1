"""A page that shows a person what filters left out: pictures, recordings to hear, texts, reasons.

One HTML file, nothing to fetch. Of each filter the first inputs stand there, and counts of all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from dvse.audio.decoding import opened as opened_sound
from dvse.errors import DvseError
from dvse.image.decode_limits import DecodeLimits
from dvse.image.decoding import decode_picture
from dvse.image.geometry import Placement
from dvse.items import Audio, Image, Item, Text
from pipelines.reports.drawing import png, wav, waveform

_SIDE, _HEARD_S, _LONGEST_TEXT = 320, 10.0, 400


@dataclass(frozen=True, kw_only=True)
class RefusedInput:
    """An input that a filter refused.

    Attributes:
        name, modality, text: as its row would have them.
        filter, reason, score: what the filter said.
        items: what it holds; empty where it cannot be had any more.
        problem: why, then.
    """

    name: str
    modality: str
    text: str | None
    filter: str
    reason: str
    score: float
    items: Sequence[Item] = ()
    problem: str | None = None


def write_filtered_report(
    output: Path, title: str, counts: Mapping[str, int], shown: Sequence[RefusedInput]
) -> None:
    """Write the page.

    Args:
        output: the HTML file.
        title: what was filtered.
        counts: filter → inputs that it refused.
        shown: those that are shown, in any order.
    """
    groups = [
        {
            "filter": name,
            "count": count,
            "cards": [_card(one) for one in shown if one.filter == name],
        }
        for name, count in counts.items()
    ]
    environment = Environment(loader=PackageLoader("pipelines.reports"), autoescape=True)
    page = environment.get_template("filtered_report.html.j2").render(
        title=title, groups=groups, total=sum(counts.values())
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")


def _card(one: RefusedInput) -> dict[str, Any]:
    return {
        "name": one.name,
        "modality": one.modality,
        "reason": one.reason,
        "score": f"{one.score:.4g}",
        "text": (one.text or "").strip()[:_LONGEST_TEXT],
        "problem": one.problem,
        "media": [view for item in one.items if (view := _view(item)) is not None],
    }


def _view(item: Item) -> dict[str, Any] | None:
    try:
        match item:
            case Image():
                pixels, _ = decode_picture(item.source, _fitted, DecodeLimits(), name=item.name)
                return {"kind": "image", "png": png(pixels)}
            case Audio():
                return _sound_view(item)
            case Text():
                return {"kind": "text", "text": item.text[:_LONGEST_TEXT]}
    except DvseError as error:
        return {"kind": "problem", "text": str(error)}
    return None


def _sound_view(item: Audio) -> dict[str, Any]:
    with opened_sound(item, max_duration_s=float("inf")) as recording:
        rate, blocks, length = recording.sample_rate_hz, [], 0
        for block in recording.blocks:
            blocks.append(block)
            length += len(block)
            if length >= _HEARD_S * rate:
                break
    samples = np.concatenate(blocks)[: int(_HEARD_S * rate)] if blocks else np.zeros(0, np.float32)
    return {
        "kind": "audio",
        "wav": wav(samples, rate),
        "png": png(waveform(samples)),
        "seconds": f"{len(samples) / rate:.2f}",
        "is_cut": length > len(samples),
    }


def _fitted(width: int, height: int) -> Placement:
    """All of the picture, in a square of `_SIDE` pixels; never made larger."""
    scale = min(1.0, _SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Placement(box=(0.0, 0.0, width, height), size=size, grid=(1, 1))


def first_of_each(refused: Sequence[RefusedInput], most: int) -> list[RefusedInput]:
    """Return the first few of each filter, in order.

    >>> made = [RefusedInput(name=n, modality="text", text="", filter=f, reason="", score=0.0)
    ...         for n, f in (("a", "x"), ("b", "x"), ("c", "y"))]
    >>> [one.name for one in first_of_each(made, 1)]
    ['a', 'c']
    """
    names = dict.fromkeys(one.filter for one in refused)
    return [one for name in names for one in islice((r for r in refused if r.filter == name), most)]
