r"""Which files hold labelled inputs, and which of them belong to which split.

A JSON file says it, for each modality that is there:

    {"image": {"path": "pictures.parquet", "label": "label", "caption": "a photo of {a_label}",
               "train": {"rows": [0, 45000]}, "splits": {"validation": {"rows": [45000, 50000]}}},
     "audio": {"path": "fsdd/manifest.jsonl", "label": "text", "speaker": "speaker",
               "train": {"where": {"speaker": "anna|bert"}},
               "splits": {"unknown": {"where": {"speaker": "carl"}}}},
     "text": {"path": "*.txt"}}

`rows` is a half-open range; `where` maps a field to a regular expression that all of it must
match. The units' meaning is learnt from `train` only, figures are of the `splits`. `caption` is
what a decoder should say of an input, with `{label}` or `{a_label}` (with its article) in it.

Of recordings also `"phones": {"path": "alignments", "tier": "phones", "frame_rate_hz": 100,
"keep_stress": false}`, see `pipelines.evaluation.alignments`, and `"items": "dev-clean.item"`, an
item file for ABX.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvse.errors import TrainingError

DEFAULT_LAYOUT = Path(__file__).with_name("data_layout.json")
LAYOUT_FILE = "evaluation.json"
TRAIN = "train"


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which rows belong: a half-open range of positions, and expressions that fields match."""

    rows: tuple[int, int] | None = None
    where: Mapping[str, str] | None = None

    def holds(self, position: int, fields: Mapping[str, Any]) -> bool:
        """Return whether a row belongs.

        >>> Split(rows=(0, 2), where={"speaker": "a|b"}).holds(1, {"speaker": "b"})
        True
        """
        if self.rows is not None and not self.rows[0] <= position < self.rows[1]:
            return False
        return all(
            re.fullmatch(pattern, str(fields.get(name, "")))
            for name, pattern in (self.where or {}).items()
        )


@dataclass(frozen=True, kw_only=True)
class PhoneLabels:
    """Where alignments lie below the data folder; all else is as `read_alignments` takes it."""

    path: str
    tier: str | None = None
    frame_rate_hz: float = 100.0
    keep_stress: bool = False

    def __post_init__(self) -> None:
        rate = self.frame_rate_hz
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0:
            raise ValueError(f"expected a frame_rate_hz above 0, received {rate!r}")


@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """One modality's inputs.

    Attributes:
        path: file, or a pattern of files for text, below the data folder.
        label, speaker: names of columns or fields.
        caption: template of the reference caption.
        phones: alignments of recordings.
        items: an item file for ABX over phones.
        splits: name → rows; `train` among them.
    """

    path: str
    label: str | None = None
    speaker: str | None = None
    caption: str = "{label}"
    phones: PhoneLabels | None = None
    items: str | None = None
    splits: Mapping[str, Split]

    def reference(self, label: str) -> str:
        """Return what should be said of an input with this label.

        >>> LabelledData(path="", caption="a photo of {a_label}", splits={}).reference("airplane")
        'a photo of an airplane'
        """
        article = "an" if label[:1].lower() in "aeiou" else "a"
        filled = self.caption.replace("{a_label}", f"{article} {label}")
        return filled.replace("{label}", label)


def read_layout(data: Path, description: Path | None = None) -> dict[str, LabelledData]:
    """Return the sources that lie in a data folder.

    Args:
        data: the folder.
        description: the JSON file; by default `evaluation.json` in the folder, else the layout
            of this project's own data.

    Raises:
        TrainingError: no such folder or files, or a description that is none.
    """
    if not data.is_dir():
        raise TrainingError(f"{data}: expected a folder with data to evaluate on")
    if description is None:
        own = data / LAYOUT_FILE
        description = own if own.is_file() else DEFAULT_LAYOUT
    try:
        document = json.loads(description.read_text(encoding="utf-8"))
        sources = {modality: _source(entry) for modality, entry in document.items()}
        if not set(sources) <= {"image", "audio", "text"}:
            raise ValueError(f"unknown modality among {sorted(sources)}")
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise TrainingError(
            f"{description}: expected a description of image, audio and text data with path, "
            f"label, train and splits; {error}"
        ) from error
    found = {m: source for m, source in sources.items() if any(data.glob(source.path))}
    if not found:
        paths = ", ".join(source.path for source in sources.values())
        raise TrainingError(
            f"{data}: none of {paths} is there; say in {LAYOUT_FILE} in that folder which files "
            "hold which split (dvse evaluate --help shows how)"
        )
    return found


def _source(entry: Mapping[str, Any]) -> LabelledData:
    unknown = set(entry) - {
        *("path", "label", "speaker", "caption", "train", "splits", "phones", "items")
    }
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    splits = {name: _split(rows) for name, rows in entry.get("splits", {}).items()}
    if "train" in entry:
        splits[TRAIN] = _split(entry["train"])
    return LabelledData(
        path=entry["path"],
        label=entry.get("label"),
        speaker=entry.get("speaker"),
        caption=entry.get("caption", "{label}"),
        phones=PhoneLabels(**entry["phones"]) if "phones" in entry else None,
        items=entry.get("items"),
        splits=splits,
    )


def _split(entry: Mapping[str, Any]) -> Split:
    if set(entry) - {"rows", "where"}:
        raise ValueError(f"expected rows or where in a split, received {sorted(entry)}")
    for pattern in entry.get("where", {}).values():
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    rows = entry.get("rows")
    return Split(rows=None if rows is None else (rows[0], rows[1]), where=entry.get("where"))
