"""A *part*: one modality's tokenizer in a folder of its own, as `dvse train` leaves it.

    part.json     {"format", "format_version", "modality", "spec", "metrics", "provenance"}
    …             the files that the spec names (safetensors, a SentencePiece model)

`dvse build-bundle` puts three parts together: the spec moves into `dvse.json`, the files into the
folder of the modality.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvse.errors import BundleFormatError, BundleNotFoundError
from dvse.items import MODALITIES

FORMAT = "dvse-part"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Part:
    """What `part.json` says, and the folder it stands in.

    Attributes:
        spec: the modality's JSON description, see its `from_spec`.
        metrics: figures with how they were measured.
        provenance: training data (names, hashes, licence), command, library versions.
    """

    modality: str
    folder: Path
    spec: Mapping[str, Any]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        """Write `part.json` into the folder (the spec's files are there already)."""
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "modality": self.modality,
            "spec": dict(self.spec),
            "metrics": dict(self.metrics),
            "provenance": dict(self.provenance),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        (self.folder / "part.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, modality: str | None = None) -> "Part":
        """Read the part in `folder`.

        Raises:
            BundleNotFoundError: no `part.json` there.
            BundleFormatError: not a part, another version, unknown or missing fields, or another
                modality than asked for.
        """
        path = Path(folder) / "part.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BundleNotFoundError(
                f"{path}: expected a folder written by dvse train; there is no part.json"
            ) from error
        except ValueError as error:
            raise BundleFormatError(f"{path}: expected JSON; {error}") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise BundleFormatError(f"{path}: expected a file of format {FORMAT!r}")
        if document.get("format_version") != FORMAT_VERSION:
            raise BundleFormatError(
                f"{path}: expected format version {FORMAT_VERSION}, received "
                f"{document.get('format_version')!r}; use the DVSE version that wrote it"
            )
        contents = {"spec", "metrics", "provenance"}
        if set(document) != {"format", "format_version", "modality", *contents} or not all(
            isinstance(document[name], dict) for name in contents
        ):
            raise BundleFormatError(
                f"{path}: expected the fields modality, spec, metrics and provenance (the last "
                f"three objects), received {sorted(document)}"
            )
        found = document["modality"]
        if found not in MODALITIES or (modality is not None and found != modality):
            raise BundleFormatError(
                f"{path}: expected a part for {modality or MODALITIES}, received {found!r}"
            )
        return cls(
            modality=found,
            folder=Path(folder),
            **{name: document[name] for name in contents},
        )
