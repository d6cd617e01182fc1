"""What units say of phones: agreement with alignments, and ABX over an item file."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import numpy as np

from dvse.errors import TrainingError
from dvse.tokenizer import Tokenizer
from pipelines.evaluation.alignments import read_alignments, utterance_of
from pipelines.evaluation.data_layout import LabelledData
from pipelines.evaluation.encoded import EncodedInput
from pipelines.evaluation.measures.item_abx import (
    Speakers,
    cut_items,
    item_abx_error,
    read_items,
)
from pipelines.evaluation.phone_agreement import phone_figures


def phone_measures(
    tokenizer: Tokenizer,
    data: Path,
    source: LabelledData,
    splits: Mapping[str, Sequence[EncodedInput]],
) -> dict[str, dict[str, Any]]:
    """Return for each split `phones` and `item_abx`, where the data has alignments and items.

    Raises:
        TrainingError: alignments or items that cannot be read, or do not fit the recordings.
    """
    audio: Any = tokenizer.audio
    figures: dict[str, dict[str, Any]] = {name: {} for name in splits}
    if source.phones is not None:
        alignments = read_alignments(
            data / source.phones.path,
            frame_rate_hz=source.phones.frame_rate_hz,
            tier=source.phones.tier,
            keep_stress=source.phones.keep_stress,
        )
        for name, inputs in splits.items():
            figures[name]["phones"] = phone_figures(
                inputs, alignments, audio.preparer, audio.num_codes
            )
        names = [entry.source.name for inputs in splits.values() for entry in inputs]
        if names and not any(utterance_of(name, alignments) for name in names):
            raise TrainingError(
                f"{data / source.phones.path}: expected alignments of the recordings, such as "
                f"{Path(names[0]).stem!r}, received others, such as {next(iter(alignments))!r}"
            )
    if source.items is not None:
        for name, inputs in splits.items():
            figures[name]["item_abx"] = _item_abx(tokenizer, data / source.items, inputs)
    return figures


def _item_abx(tokenizer: Tokenizer, path: Path, inputs: Sequence[EncodedInput]) -> dict[str, Any]:
    """Errors of units (0 or 1 a pair of frames) and of features (angles), within and across."""
    audio: Any = tokenizer.audio
    by_name = {Path(entry.source.name).stem: entry for entry in inputs}
    every = read_items(path)
    items = [item for item in every if item.file in by_name]
    rate_hz = Decimal(audio.sample_rate_hz) / Decimal(audio.preparer.grid.stride)
    kinds: dict[str, Callable[[str], np.ndarray]] = {
        "units": lambda name: by_name[name].codes[:, :1],
        "features": lambda name: by_name[name].features,
    }
    cut = {kind: cut_items(items, of, rate_hz=rate_hz) for kind, of in kinds.items()}
    several = len({item.speaker for item in items}) > 1
    ways: tuple[Speakers, ...] = get_args(Speakers) if several else ("within",)
    figures: dict[str, Any] = {"items": len(items), "items_elsewhere": len(every) - len(items)}
    for way in ways:
        figures[way] = {
            kind: round(item_abx_error(items, frames, speaker=way, is_discrete=kind == "units"), 6)
            for kind, frames in cut.items()
        }
    return figures
