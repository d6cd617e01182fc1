"""A bundle on disk: the three modality specs, their files, the vocabulary, and a hash of each.

    dvse.json              format version, name, fingerprint, a section a modality, hashes of files
    vocabulary.json        blocks and special tokens
    text/ image/ audio/    the files that the specs name
    processor_config.json, tokenizer_config.json
                           so that transformers' AutoProcessor and AutoTokenizer find DVSE

A decoder (config.json, *.safetensors) may lie beside it: then the directory is a model.

Reads and writes the directory and proves it whole. Knows no torch and builds no tokenizer.
Nothing in a bundle is ever executed or unpickled.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvse.errors import (
    BundleFormatError,
    BundleIntegrityError,
    BundleNotFoundError,
    ConfigError,
)
from dvse.items import MODALITIES
from dvse.storage.file_hash import file_sha256
from dvse.storage.manifest import (
    FORMAT,
    FORMAT_VERSION,
    check_files,
    check_format,
    deciding_files,
)
from dvse.storage.pickles import refuse_pickles
from dvse.vocabulary import Vocabulary

_PROCESSOR = {
    "processor_class": "DvseProcessor",
    "auto_map": {"AutoProcessor": "processing_dvse.DvseProcessor"},
}
_TOKENIZER = {
    "tokenizer_class": "DvseTokenizer",
    "auto_map": {"AutoTokenizer": ["processing_dvse.DvseTokenizer", None]},
}
_PROCESSOR_CODE = '''"""Lets transformers find processor and tokenizer; dvse has the code."""

from dvse.pretrained_tokenizer import DvseTokenizer
from dvse.processor import DvseProcessor

__all__ = ["DvseProcessor", "DvseTokenizer"]
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
        vocabulary: which id means what.
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
            BundleIntegrityError: a file is missing, was added, or does not have its hash.
            VocabularyError: a vocabulary.json that is none.
        """
        folder = Path(folder)
        document = _read_json(folder / "dvse.json")
        check_format(document, folder)
        refuse_pickles(folder)
        check_files(folder, document["files"])
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

    def copy_to(self, folder: Path) -> None:
        """Copy the bundle's own files, and nothing that lies beside them, into a new directory."""
        for name in ("dvse.json", *deciding_files(self.folder)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.folder / name, folder / name)
        write_processor_files(folder)


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
    write_processor_files(folder)
    refuse_pickles(folder)
    files = {
        name: {"sha256": file_sha256(folder / name), "size": (folder / name).stat().st_size}
        for name in deciding_files(folder)
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


def write_processor_files(folder: Path) -> None:
    """Write what `AutoProcessor` and `AutoTokenizer` look for; a model directory needs it too."""
    _write_json(folder / "processor_config.json", _PROCESSOR)
    _write_json(folder / "tokenizer_config.json", _TOKENIZER)
    (folder / "processing_dvse.py").write_text(_PROCESSOR_CODE, encoding="utf-8")


def save_for_transformers(
    write: Callable[[Path], object], source: Path | None, folder: Path
) -> tuple[str, ...]:
    """Save a bundle as `save_pretrained` of a processor or tokenizer is expected to.

    Beside a training checkpoint it goes into a `bundle/` of its own: a checkpoint holds pickles,
    which no bundle may have.

    Args:
        write: fills a new directory with the bundle.
        source: where the bundle lies already, if it does; nothing is written over it.
        folder: as the caller of `save_pretrained` gave it.

    Returns:
        The files of the bundle.
    """
    is_checkpoint = (folder / "config.json").is_file() and not (folder / "dvse.json").is_file()
    target = folder / "bundle" if is_checkpoint else folder
    if source is None or not target.exists() or not target.samefile(source):
        with TemporaryDirectory() as temporary:
            write(Path(temporary))
            install_bundle(Path(temporary), target)
    if target != folder:
        write_processor_files(folder)
    return tuple(str(path) for path in sorted(target.rglob("*")) if path.is_file())


def install_bundle(draft: Path, folder: Path) -> Path:
    """Move a written bundle into `folder`, in place of a bundle that lies there; return `folder`.

    `dvse.json` goes last: while it is missing, the directory is no bundle.

    Raises:
        ConfigError: `folder` is a file, or holds something else already.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: expected a directory, received a file")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "dvse.json").is_file():
        raise ConfigError(f"{folder}: expected a new or empty directory, or a bundle to replace")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dvse.json").unlink(missing_ok=True)
    for modality in MODALITIES:
        shutil.rmtree(folder / modality, ignore_errors=True)
    for path in sorted(draft.iterdir(), key=lambda path: path.name == "dvse.json"):
        shutil.move(path, folder / path.name)
    return folder


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
