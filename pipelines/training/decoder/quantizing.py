"""A model directory with 8 or 4 bits a weight, judged beside the one it was made from.

A model that loses more than it may is not written.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dvse.errors import ConfigError, TrainingError
from dvse.storage.atomic_file import write_atomically
from dvse.storage.bundle import Bundle
from dvse.storage.shard import find_shards, read_metadata, read_shard
from model import DvseConfig, quantize, quantize_calibrated
from pipelines.answering.model_directory import load_model, save_model
from pipelines.answering.model_folders import ModelFolders, find_model
from pipelines.answering.room import check_room
from pipelines.answering.weight_format import check_quantization
from pipelines.training.decoder.quality_gate import Judgement, judge
from pipelines.training.decoder.quantization_settings import QuantizationSettings

FIGURES_FILE = "quantization.json"


def quantize_model(
    name: str | Path,
    output: Path,
    settings: QuantizationSettings,
    *,
    tokens: Path | None,
    data: Path | None,
    calibrate: Path | None = None,
    write_anyway: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Judgement:
    """Write the quantized model into `output` if it is good enough.

    Args:
        name: a shipped name, a model directory or a Hub id.
        tokens: shards of held-out conversations, made with the model's bundle.
        data: labelled data as `dvse evaluate` takes it.
        calibrate: shards of training rows; each weight is then rounded so that the outputs on
            these change least (`model.gptq`) instead of to the nearest.
        write_anyway: also where it is not good enough, or was not judged.

    Raises:
        ConfigError: nothing to judge it by, settings that do not fit the decoder, or no room.
        TrainingError: shards or data that cannot be read.
    """
    if tokens is None and data is None and not write_anyway:
        raise ConfigError(
            "expected held-out token shards (--tokens) or labelled data (--data) to judge the "
            "quantized model by; --write-anyway goes without"
        )
    folders = find_model(name)
    folders.refuse_adapters("quantizing")
    config = DvseConfig.from_pretrained(folders.decoder)
    group_size = check_quantization(
        config, settings.to, folders.decoder, group_size=settings.group_size
    )
    check_room(folders.decoder, copies=2)
    _check_places(output, folders, [rows for rows in (tokens, calibrate) if rows is not None])
    before, after = load_model(name), load_model(name)
    how, bounds = {"bits": settings.bits, "group_size": group_size}, settings.bounds
    if calibrate is None:
        quantize(after.model, **how)
    else:
        progress(f"rounding by {settings.calibration_rows} rows")
        quantize_calibrated(after.model, _rows(calibrate, settings.calibration_rows), **how)
    found = judge(before, after, bounds, tokens=tokens, data=data, progress=progress)
    if found.misses and not write_anyway:
        return found
    save_model(after.model, folders.bundle, output)
    num_rows = settings.calibration_rows if calibrate is not None else 0
    about = {
        "settings": {**how, "calibration_rows": num_rows, "bounds": asdict(bounds)},
        "made_from": folders.name,
        **found.figures,
        "misses": list(found.misses),
    }
    write_atomically(output / FIGURES_FILE, (json.dumps(about, indent=2) + "\n").encode())
    card = _card(folders.decoder / "README.md", about, found)
    write_atomically(output / "README.md", card.encode())
    return found


def _check_places(output: Path, folders: ModelFolders, shards: list[Path]) -> None:
    """Refuse, before weights are read, to write over the model itself, and rows of other ids.

    Raises:
        ConfigError: `output` is the model.
        TrainingError: no shards, or of another bundle.
    """
    if output.resolve() in (folders.decoder.resolve(), folders.bundle.resolve()):
        raise ConfigError(
            f"{output}: expected another directory than the model's, whose weights would be gone"
        )
    fingerprint = Bundle.open(folders.bundle).fingerprint
    for folder in shards:
        found = find_shards(folder)
        if not found:
            raise TrainingError(
                f"{folder}: expected shard-*.parquet written by dvse tokenize, found none"
            )
        if read_metadata(found[0]).bundle_fingerprint != fingerprint:
            raise TrainingError(f"{found[0]}: written with another bundle than the model's")


def _rows(shards: Path, count: int) -> list[torch.Tensor]:
    """Return the ids `[1, T]` of the first rows."""
    first = find_shards(shards)[0]
    rows = read_shard(first, columns=["ids"])["ids"][:count].to_pylist()
    return [torch.tensor([row]) for row in rows]


def _card(source: Path, about: dict[str, Any], found: Judgement) -> str:
    """Return the card of the model it was made from, with the figures behind it."""
    card = source.read_text(encoding="utf-8") if source.is_file() else "# A DVSE decoder\n"
    num_rows = about["settings"]["calibration_rows"]
    by = f", rounded by {num_rows} training rows (GPTQ)" if num_rows else ""
    lines = [
        card.rstrip(),
        f"\n## {about['settings']['bits']} bits a weight\n",
        f"Made from `{about['made_from']}` by `dvse quantize`{by}; embedding, head, router and "
        "gates are as they were. The figures above are those of the model before.\n",
        "| | before | after |",
        "|---|---|---|",
        *found.lines(),
    ]
    lines += [f"\n**Missed:** {miss}." for miss in found.misses]
    if not {"answer_loss", "accuracy"} & set(about):
        lines.append("\n**Not judged.**")
    return "\n".join(lines) + "\n"
