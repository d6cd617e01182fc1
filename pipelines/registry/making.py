"""From an entry of the registry to a bundle in the cache."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from dvse.errors import BundleError, ConfigError
from dvse.storage.bundle import Bundle
from dvse.storage.finding import find_bundle
from dvse.storage.part import Part
from pipelines.importing.encoder import EncoderFacts
from pipelines.importing.image_settings import ImageSettings
from pipelines.importing.units import UnitSettings
from pipelines.registry.registry import Entry, cache_folder
from pipelines.training.bundle_building import build_bundle


def made_bundle(entry: Entry, cache: Path | None = None) -> Path:
    """Return the entry's bundle, made the first time.

    Another file, hash or setting in the entry is another bundle.

    Raises:
        BundleError: a file cannot be had, or is not what it should be.
        ConfigError: settings that the importer does not know, or misses.
    """
    cache = cache or cache_folder()
    place = cache / "bundles" / f"{entry.name}-{_digest(entry)}"
    if (place / "dvse.json").is_file():
        return place
    files = entry.fetch(cache)
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=place.parent))
    try:
        try:
            part = _import(entry, files, draft / "part")
        except BundleError as error:
            raise _doubted(entry, files, error) from error
        text = _text_part(entry.text, draft / "text")
        modality = part.modality
        build_bundle(
            draft / "bundle",
            parts={"text": text, modality: part.folder},
            name=entry.name,
            card=_card(entry),
        )
        if not place.exists():  # another process may have been faster
            (draft / "bundle").replace(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return place


def _doubted(entry: Entry, files: Mapping[str, Path], error: BundleError) -> BundleError:
    """Say of files whose hash nobody publishes that they may be something else."""
    doubtful = [str(files[role]) for role, file in entry.files.items() if not file.sha256]
    if not doubtful:
        return error
    return type(error)(
        f"{error}; nobody publishes a hash of {', '.join(doubtful)}: if that is not the published "
        "file, delete it and its .sha256, and run the same command again"
    )


def _import(entry: Entry, files: Mapping[str, Path], output: Path) -> Part:
    if entry.kind == "image":
        from pipelines.importing.image import import_image

        source = files["weights"].parent if "config" in files else files["weights"]
        settings = _made(ImageSettings, entry, {})
        return import_image(source, output, settings=settings, licence=entry.licence)
    if entry.kind == "codec":
        from pipelines.importing.codec import import_codec

        _refuse_unknown(entry, {"num_levels", "chunk_s", "last_chunk", "loudness"})
        return import_codec(
            files["weights"].parent, output, licence=entry.licence, **entry.settings
        )
    from pipelines.importing.units import import_units

    others = {"layer", "sample_rate_hz"}
    facts = {"pre_norm", "num_heads"}
    if "layer" not in entry.settings:
        raise ConfigError(f"{entry.name}: expected a layer in its settings")
    return import_units(
        output,
        centroids=files["centroids"],
        encoder=files["encoder"],
        layer=entry.settings["layer"],
        sample_rate_hz=entry.settings.get("sample_rate_hz", 16_000),
        settings=_made(UnitSettings, entry, others | facts),
        facts=EncoderFacts(**{n: v for n, v in entry.settings.items() if n in facts}),
        licence=entry.licence,
    )


def _made(cls: type, entry: Entry, others: Any) -> Any:
    names = {field.name for field in fields(cls)}
    _refuse_unknown(entry, names | set(others))
    said = {n: v for n, v in entry.settings.items() if n in names}
    return cls(**{n: tuple(v) if isinstance(v, list) else v for n, v in said.items()})


def _refuse_unknown(entry: Entry, known: set[str]) -> None:
    if unknown := sorted(set(entry.settings) - known):
        raise ConfigError(
            f"{entry.name}: unknown setting {unknown[0]!r}; expected some of {sorted(known)}"
        )


def _text_part(source: str, folder: Path) -> Path:
    """Write the text section of a bundle as a part."""
    bundle = Bundle.open(find_bundle(source))
    section = bundle.sections["text"]
    shutil.copytree(bundle.folder / "text", folder)
    Part(
        modality="text",
        folder=folder,
        spec=section.spec,
        metrics=section.metrics,
        provenance=section.provenance,
    ).save()
    return folder


def _card(entry: Entry) -> str:
    sources = "\n".join(
        f"- {file.url} (sha256 {file.sha256 or 'not published'})" for file in entry.files.values()
    )
    settings = "\n".join(f"- {name}: {value}" for name, value in entry.settings.items())
    return (
        f"# {entry.name}\n\n{entry.about}. Licence of the weights: {entry.licence}. From "
        f"{entry.home}; text pieces are those of {entry.text}.\n\n## Files\n\n{sources}\n\n"
        f"## Settings\n\n{settings}\n"
    )


def _digest(entry: Entry) -> str:
    content = json.dumps(asdict(entry), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]
