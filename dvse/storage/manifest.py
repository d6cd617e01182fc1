"""What `dvse.json` has to say, and whether the files of its directory are the ones it names."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from dvse.errors import BundleFormatError, BundleIntegrityError
from dvse.items import MODALITIES
from dvse.storage.file_hash import file_sha256

FORMAT = "dvse-bundle"
FORMAT_VERSION = 1

_FIELDS = {"format", "format_version", "name", "fingerprint", "dvse_version", "card", "files"}


def check_format(document: Mapping[str, Any], folder: Path) -> None:
    """Raise `BundleFormatError` unless the document of `dvse.json` is of this format, complete."""
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
    kinds = {"name": str, "fingerprint": str, "dvse_version": str, "card": str, "files": dict}
    for field_name, kind in kinds.items():
        if not isinstance(document.get(field_name, kind()), kind):
            raise BundleFormatError(
                f"{folder}: expected {field_name!r} of dvse.json to be a {kind.__name__}, received "
                f"{document[field_name]!r:.60}"
            )
    for modality in [m for m in MODALITIES if m in document]:
        section = document[modality]
        if not (
            isinstance(section, dict)
            and set(section) == {"spec", "metrics", "provenance"}
            and all(isinstance(value, dict) for value in section.values())
        ):
            raise BundleFormatError(
                f"{folder}: expected section {modality!r} to hold the objects spec, metrics and "
                f"provenance, received {section!r:.60}"
            )


def check_files(folder: Path, files: Mapping[str, Any]) -> None:
    """Prove that a directory holds the listed files with their hashes, and no other that decides.

    Raises:
        BundleFormatError: names outside the directory, entries of another form.
        BundleIntegrityError: a file is missing, was added, or does not have its hash.
    """
    for name, expected in files.items():
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name:
            raise BundleFormatError(
                f"{folder}: expected files inside the bundle, received {name!r}"
            )
        if not isinstance(expected, dict) or set(expected) != {"sha256", "size"}:
            raise BundleFormatError(
                f"{folder}: expected sha256 and size of {name!r}, received {expected!r:.60}"
            )
        path = folder / name
        if not path.is_file():
            raise BundleIntegrityError(f"{path}: the file is missing; fetch the bundle again")
        found = file_sha256(path)
        if found != expected["sha256"]:
            raise BundleIntegrityError(
                f"{path}: expected SHA-256 {expected['sha256']!s:.16}…, received {found:.16}…; "
                "the file was changed or cut short, fetch the bundle again"
            )
    added = set(deciding_files(folder)) - set(files)
    if added:
        raise BundleIntegrityError(
            f"{folder}: dvse.json does not list {sorted(added)}, so nothing vouches for it; remove "
            "it, or build the bundle again"
        )


def deciding_files(folder: Path) -> list[str]:
    """Return the names of the files on which tokens may depend: modalities' and vocabulary."""
    found = [p for m in MODALITIES for p in (folder / m).rglob("*") if p.is_file()]
    names = [p.relative_to(folder).as_posix() for p in found if not p.name.startswith(".")]
    return sorted([*names, "vocabulary.json"])
