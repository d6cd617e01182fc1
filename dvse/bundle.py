"""A bundle on disk: the three modality specs, their files, the vocabulary, and a hash of each.

    dvse.json              format version, name, fingerprint, a section a modality, hashes of files
    vocabulary.json        blocks and special tokens
    text/ image/ audio/    the files that the specs name
    processor_config.json  so that transformers' AutoProcessor finds DVSE

Reads and writes the directory and proves it whole. Knows no torch and builds no tokenizer.
Nothing in a bundle is ever executed or unpickled.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from dvse.errors import (
    BundleFormatError,
    BundleIntegrityError,
    BundleNotFoundError,
    UnsafeFileError,
)
from dvse.items import MODALITIES
from dvse.vocabulary import Vocabulary

FORMAT = "dvse-bundle"
FORMAT_VERSION = 1
SHIPPED = Path(__file__).parent / "bundles"

_PICKLE_SUFFIXES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}
_FIELDS = {"format", "format_version", "name", "fingerprint", "dvse_version", "card", "files"}
_PROCESSOR = {
    "processor_class": "DvseProcessor",
    "auto_map": {"AutoProcessor": "processing_dvse.DvseProcessor"},
}
_PROCESSOR_CODE = '''"""Lets transformers find DVSE's processor; the dvse package holds the code."""

from dvse.processor import DvseProcessor

__all__ = ["DvseProcessor"]
'''


@dataclass(frozen=True, kw_only=True)
class Section:
    """What a bundle says of one modality.

    Attributes:
        spec: JSON description from which the modality's tokenizer is made.
        metrics: figures with how they were measured.
        provenance: training data, licences, commands, versions.
    """

    spec: Mapping[str, Any]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle whose format and hashes were checked.

    Attributes:
        folder: where it lies.
        name: what it calls itself.
        fingerprint: SHA-256 (hex) of all that decides tokens: specs, vocabulary, files.
        sections: modality → section, for the modalities it has.
        card: what it was trained on, what it is for and what not (Markdown).
    """

    folder: Path
    name: str
    fingerprint: str
    vocabulary: Vocabulary
    sections: Mapping[str, Section]
    card: str = ""

    @classmethod
    def open(cls, folder: Path) -> "Bundle":
        """Read a bundle directory and check it.

        Raises:
            BundleNotFoundError: no `dvse.json` there.
            BundleFormatError: another format version, missing or unknown fields.
            UnsafeFileError: a pickle lies in the directory.
            BundleIntegrityError: a file is missing or does not have its hash.
        """
        folder = Path(folder)
        document = _read_json(folder / "dvse.json")
        _check_format(document, folder)
        _refuse_pickles(folder)
        for name, expected in document["files"].items():
            _check_file(folder, name, expected)
        sections = {m: Section(**document[m]) for m in MODALITIES if m in document}
        vocabulary = Vocabulary.from_dict(_read_json(folder / "vocabulary.json"))
        found = _fingerprint(sections, vocabulary, document["files"])
        if found != document["fingerprint"]:
            raise BundleIntegrityError(
                f"{folder}: expected fingerprint {document['fingerprint'][:16]}…, received "
                f"{found[:16]}…; dvse.json was edited after it was written"
            )
        return cls(
            folder=folder,
            name=document["name"],
            fingerprint=found,
            vocabulary=vocabulary,
            sections=sections,
            card=document.get("card", ""),
        )


def write_bundle(
    folder: Path,
    *,
    name: str,
    vocabulary: Vocabulary,
    sections: Mapping[str, Section],
    card: str = "",
) -> Bundle:
    """Write `dvse.json` and its neighbours over the modality files that lie in `folder` already.

    Raises:
        UnsafeFileError: a pickle lies among them.
    """
    from dvse.version import __version__

    _write_json(folder / "vocabulary.json", vocabulary.to_dict())
    _write_json(folder / "processor_config.json", _PROCESSOR)
    (folder / "processing_dvse.py").write_text(_PROCESSOR_CODE, encoding="utf-8")
    _refuse_pickles(folder)
    files = {
        path.relative_to(folder).as_posix(): {"sha256": _sha256(path), "size": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] in (*MODALITIES, "vocabulary.json")
    }
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": name,
        "dvse_version": __version__,
        "fingerprint": _fingerprint(sections, vocabulary, files),
        **{
            m: {"spec": s.spec, "metrics": s.metrics, "provenance": s.provenance}
            for m, s in sections.items()
        },
        "card": card,
        "files": files,
    }
    _write_json(folder / "dvse.json", document)
    return Bundle.open(folder)


def find_bundle(name: str | Path, *, revision: str | None = None) -> Path:
    """Return the directory of a shipped name, a path, or a Hugging Face Hub id.

    A model directory is searched for the bundle inside it.

    Raises:
        BundleNotFoundError: none of the three.
    """
    folder = Path(name)
    for candidate in (folder, folder / "bundle", SHIPPED / str(name)):
        if (candidate / "dvse.json").is_file():
            return candidate
    shipped = sorted(p.name for p in SHIPPED.glob("*") if (p / "dvse.json").is_file())
    if folder.exists() or str(name).count("/") != 1 or str(name).startswith((".", "~", "/")):
        raise BundleNotFoundError(
            f"no bundle {str(name)!r}: expected a shipped name {shipped}, a directory with a "
            "dvse.json, or a Hugging Face id like 'owner/name'"
        )
    from huggingface_hub import snapshot_download

    try:
        return find_bundle_in(Path(snapshot_download(str(name), revision=revision)), str(name))
    except BundleNotFoundError:
        raise
    except Exception as error:  # the Hub client raises many kinds, all meaning: not to be had
        raise BundleNotFoundError(
            f"no bundle {str(name)!r}: it is neither a shipped name {shipped} nor a directory, and "
            f"the Hugging Face Hub did not give it ({type(error).__name__})"
        ) from error


def find_bundle_in(folder: Path, name: str) -> Path:
    """Return the bundle in a downloaded repository: its top, or `bundle/` of a model.

    Raises:
        BundleNotFoundError: it has none.
    """
    for candidate in (folder, folder / "bundle"):
        if (candidate / "dvse.json").is_file():
            return candidate
    raise BundleNotFoundError(f"{name!r} was fetched, but there is no dvse.json in it")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleNotFoundError(f"{path}: no such file; expected a bundle directory") from None
    except (ValueError, OSError) as error:
        raise BundleFormatError(f"{path}: expected readable JSON; {error}") from None
    if not isinstance(document, dict):
        raise BundleFormatError(f"{path}: expected a JSON object, received a list or a value")
    return document


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _check_format(document: Mapping[str, Any], folder: Path) -> None:
    if document.get("format") != FORMAT:
        raise BundleFormatError(
            f"{folder}: expected a dvse.json of format {FORMAT!r}, received "
            f"{document.get('format')!r}"
        )
    if document.get("format_version") != FORMAT_VERSION:
        raise BundleFormatError(
            f"{folder}: expected format version {FORMAT_VERSION}, received "
            f"{document.get('format_version')!r}; install the DVSE that wrote this bundle"
        )
    unknown = set(document) - _FIELDS - set(MODALITIES)
    missing = _FIELDS - set(document) - {"card"}
    if "text" not in document:
        missing.add("text")
    if unknown or missing:
        raise BundleFormatError(
            f"{folder}: dvse.json has unknown fields {sorted(unknown)} and lacks {sorted(missing)}"
        )
    for modality in MODALITIES:
        if modality in document and set(document[modality]) != {"spec", "metrics", "provenance"}:
            raise BundleFormatError(
                f"{folder}: expected section {modality!r} to hold spec, metrics and provenance, "
                f"received {sorted(document[modality])}"
            )


def _check_file(folder: Path, name: str, expected: Mapping[str, Any]) -> None:
    parts = PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name:
        raise BundleFormatError(f"{folder}: expected files inside the bundle, received {name!r}")
    path = folder / name
    if not path.is_file():
        raise BundleIntegrityError(f"{path}: the file is missing; fetch the bundle again")
    found = _sha256(path)
    if found != expected["sha256"]:
        raise BundleIntegrityError(
            f"{path}: expected SHA-256 {expected['sha256'][:16]}…, received {found[:16]}…; "
            "the file was changed or cut short, fetch the bundle again"
        )


def _refuse_pickles(folder: Path) -> None:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix.lower() in _PICKLE_SUFFIXES or _is_pickle(path):
            raise UnsafeFileError(
                f"{path}: expected only safetensors, JSON and model files, received a pickle, "
                "which could run any code; convert it to safetensors"
            )


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4)
    if len(head) >= 2 and head[0] == 0x80 and head[1] <= 5:
        return True
    if head == b"PK\x03\x04" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(n.endswith((".pkl", "/data.pkl")) for n in archive.namelist())
    return False


def _fingerprint(
    sections: Mapping[str, Section], vocabulary: Vocabulary, files: Mapping[str, Any]
) -> str:
    content = {
        "specs": {m: s.spec for m, s in sections.items()},
        "vocabulary": vocabulary.to_dict(),
        "files": {name: entry["sha256"] for name, entry in files.items()},
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
