"""Labelled inputs of a split, read through the layout: what is measured, and what is right."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import TrainingError
from dvse.items import Audio, Image, Item
from pipelines.evaluation.data_layout import LabelledData


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input.

    Attributes:
        item: the picture or recording.
        label: what it shows or says; empty where the data has no labels.
        speaker: who speaks.
        name: for people.
    """

    item: Item
    label: str = ""
    speaker: str = ""
    name: str = ""


def read_inputs(data: Path, source: LabelledData, split: str, *, limit: int) -> list[Input]:
    """Return at most `limit` inputs of a split, spread evenly over it.

    Raises:
        TrainingError: files that cannot be read, columns that are missing, or an empty split.
    """
    path = next(iter(sorted(data.glob(source.path))))
    rule = source.splits[split]
    try:
        rows = _parquet(path, source) if path.suffix == ".parquet" else _manifest(path, source)
        positions = [i for i, fields in enumerate(rows.fields) if rule.holds(i, fields)]
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"{path}: expected labelled rows as its description says; {error}"
        ) from error
    if not positions:
        raise TrainingError(f"{path}: split {split!r} of the description holds no rows")
    if len(positions) > limit:
        places = np.linspace(0, len(positions) - 1, limit).astype(int)
        positions = [positions[place] for place in places]
    return rows.inputs(positions)


def read_texts(data: Path, source: LabelledData, *, limit_bytes: int = 2_000_000) -> Iterator[str]:
    """Yield the paragraphs of text files, in bounded memory."""
    left = limit_bytes
    for path in sorted(data.glob(source.path)):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for line in file:
                if left <= 0:
                    return
                left -= len(line.encode())
                yield line


class _Rows:
    def __init__(self, fields: Sequence[dict[str, Any]], make: Any) -> None:
        self.fields, self._make = fields, make

    def inputs(self, positions: Sequence[int]) -> list[Input]:
        return [self._make(position) for position in positions]


def _parquet(path: Path, source: LabelledData) -> _Rows:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    column = next((c for c in ("image", "audio") if c in table.column_names), None)
    if column is None:
        raise ValueError(f"expected a column image or audio, found {table.column_names}")
    others = [name for name in table.column_names if name != column]
    fields = table.select(others).to_pylist() if others else [{}] * len(table)
    kind = Image if column == "image" else Audio
    if source.label is not None and source.label not in others:
        raise ValueError(f"there is no column {source.label!r}")

    def make(position: int) -> Input:
        cell = table[column][position].as_py()
        row = fields[position]
        return Input(
            item=kind(cell["bytes"] if isinstance(cell, dict) else cell),
            label=str(row[source.label]) if source.label else "",
            speaker=str(row.get(source.speaker, "")) if source.speaker else "",
            name=f"row {position}",
        )

    return _Rows(fields, make)


def _manifest(path: Path, source: LabelledData) -> _Rows:
    lines = path.read_text(encoding="utf-8").splitlines()
    fields = [json.loads(line) for line in lines if line.strip()]

    def make(position: int) -> Input:
        row = fields[position]
        name = row.get("audio_filepath") or row["image_filepath"]
        kind = Audio if "audio_filepath" in row else Image
        return Input(
            item=kind(path.parent / name),
            label=str(row[source.label]) if source.label else "",
            speaker=str(row.get(source.speaker, "")) if source.speaker else "",
            name=Path(name).stem,
        )

    return _Rows(fields, make)
