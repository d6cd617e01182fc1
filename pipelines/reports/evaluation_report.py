"""The page of an evaluation: figures as tiles and charts, pictures, spectrograms, sounds."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from dvse.storage.atomic_file import write_atomically
from dvse.tokenizer import Tokenizer
from pipelines.codebooks.usage import CodebookUsage
from pipelines.evaluation.audio_measures import audio_usage, typical_segments
from pipelines.evaluation.data_layout import TRAIN
from pipelines.evaluation.encoded import EncodedInput
from pipelines.evaluation.evaluation import Evaluation
from pipelines.evaluation.image_measures import image_usage, rebuild, typical_patches
from pipelines.evaluation.measures.picture_quality import psnr_db
from pipelines.reports.drawing import (
    code_colour,
    png,
    side_by_side,
    spectrogram,
    wav,
    zipf_points,
)
from pipelines.reports.published import NOT_COMPARABLE, beside
from pipelines.runs.storage import cannot_write

_NUM_PICTURES, _NUM_RECORDINGS = 24, 6
_CONTEXT_S = 0.06


def write_evaluation(tokenizer: Tokenizer, found: Evaluation, output: Path) -> None:
    """Write `metrics.json` and `report.html` into `output`, made if it is missing, each whole.

    Beside figures that somebody published stands what was reached, under `published` in the first.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    page = render_report(tokenizer, found)
    published = {"note": NOT_COMPARABLE, "figures": beside(found.metrics)}
    metrics = {**found.metrics, "published": published}
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_atomically(output / "report.html", page.encode())
        write_atomically(output / "metrics.json", text.encode())
    except OSError as error:
        raise cannot_write(output, "the report", error) from error


def render_report(tokenizer: Tokenizer, found: Evaluation) -> str:
    """Return the HTML page; everything it shows is inside it."""
    views: dict[str, Any] = {}
    if "image" in found.inputs:
        views["image"] = _image_view(tokenizer, found.inputs["image"])
    if "audio" in found.inputs:
        views["audio"] = _audio_view(tokenizer, found.inputs["audio"])
    environment = Environment(loader=PackageLoader("pipelines.reports"), autoescape=True)
    return environment.get_template("evaluation_report.html.j2").render(
        tokenizer=tokenizer,
        metrics=found.metrics,
        verdicts=found.verdicts,
        views=views,
        published={place: _row(one) for place, one in beside(found.metrics).items()},
        not_comparable=NOT_COMPARABLE,
    )


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    """What was published of a figure as the page shows it."""

    def shown(value: float) -> str:
        return f"{100 * value:.1f} %" if one["is_share"] else f"{value:g}"

    values = [reached["value"] for reached in one["reached"]]
    return {
        **one,
        "here": shown(one["here"]),
        "range": f"{shown(min(values))} to {shown(max(values))}",
        "reached": [(shown(reached["value"]), reached["system"]) for reached in one["reached"]],
    }


def _measured(splits: Mapping[str, Sequence[EncodedInput]]) -> list[EncodedInput]:
    return [entry for name, part in splits.items() if name != TRAIN for entry in part]


def _image_view(
    tokenizer: Tokenizer, splits: Mapping[str, Sequence[EncodedInput]]
) -> dict[str, Any]:
    image: Any = tokenizer.image
    inputs = _measured(splits)
    view: dict[str, Any] = {"usage": _charts(image_usage(tokenizer, inputs)), "pairs": []}
    for entry in _spread(inputs, _NUM_PICTURES):
        pair = {"label": entry.source.label, "original": png(entry.data)}
        if image.decoder is not None:
            rebuilt = rebuild(tokenizer, entry)
            pair["rebuilt"] = png(rebuilt)
            pair["psnr"] = f"{psnr_db([entry.data], [rebuilt]):.1f} dB"
        view["pairs"].append(pair)
    view["patches"] = [
        {"code": code, "picture": png(side_by_side(patches)), "count": len(patches)}
        for code, patches in typical_patches(tokenizer, inputs).items()
    ]
    return view


def _audio_view(
    tokenizer: Tokenizer, splits: Mapping[str, Sequence[EncodedInput]]
) -> dict[str, Any]:
    audio: Any = tokenizer.audio
    inputs = _measured(splits)
    rate, stride = audio.sample_rate_hz, audio.preparer.grid.stride
    view: dict[str, Any] = {"usage": _charts(audio_usage(tokenizer, inputs)), "recordings": []}
    for entry in _spread(inputs, _NUM_RECORDINGS):
        view["recordings"].append(
            {
                "title": f"{entry.source.label or entry.source.name} {entry.source.speaker}",
                "spectrogram": png(spectrogram(entry.data, rate)),
                "sound": wav(entry.data, rate),
                "units": _runs(
                    entry.codes[: max(1, len(entry.data) // stride), 0], audio.num_codes
                ),
                "seconds": len(entry.data) / rate,
            }
        )
    view["segments"] = [
        {
            "unit": unit,
            "colour": code_colour(unit, audio.num_codes),
            "sounds": [
                {
                    "sound": wav(_cut(s.entry.data, s.start, s.stop, stride, rate), rate),
                    "label": f"{s.entry.source.label} {s.entry.source.speaker}".strip(),
                    "milliseconds": round(1000 * (s.stop - s.start) * stride / rate),
                }
                for s in segments
            ],
        }
        for unit, segments in typical_segments(tokenizer, inputs).items()
    ]
    return view


def _charts(usages: Sequence[CodebookUsage]) -> list[dict[str, Any]]:
    return [{"usage": usage, "points": zipf_points(usage.ranked)} for usage in usages]


def _runs(units: np.ndarray, num_codes: int) -> list[dict[str, Any]]:
    edges = [0, *(np.flatnonzero(np.diff(units)) + 1), len(units)]
    return [
        {
            "unit": int(units[a]),
            "frames": int(b - a),
            "colour": code_colour(int(units[a]), num_codes),
        }
        for a, b in itertools.pairwise(edges)
    ]


def _cut(samples: np.ndarray, start: int, stop: int, stride: int, rate_hz: int) -> np.ndarray:
    """Return a stretch with a little of what is around it, faded in and out."""
    around = int(_CONTEXT_S * rate_hz)
    cut = samples[max(0, start * stride - around) : (stop + 1) * stride + around].copy()
    fade = min(len(cut) // 2, around // 2)
    if fade:
        slope = np.linspace(0, 1, fade, dtype=np.float32)
        cut[:fade] *= slope
        cut[-fade:] *= slope[::-1]
    return cut / max(float(np.abs(cut).max()), 1e-4) * 0.7


def _spread(inputs: Sequence[EncodedInput], count: int) -> list[EncodedInput]:
    places = np.linspace(0, len(inputs) - 1, min(count, len(inputs))).astype(int)
    return [inputs[place] for place in places]
