"""What ONNX Runtime opens: an export, or that of a bundle, which is made once and kept."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from dvse.onnx_numerics import OnnxProfile, profile_of
from dvse.storage.bundle import Bundle
from dvse.storage.file_hash import files_sha256
from dvse.version import __version__
from pipelines.answering.model_folders import find_model_or_bundle
from pipelines.runtimes.source import Source


def exported(name: str, cache: Path, note: Callable[[str], None]) -> str:
    """Return by what a model or bundle is loaded so that ONNX Runtime computes it.

    Args:
        name: as it was given.
        cache: where exports are kept.
        note: told where an export is made, which takes about half a minute.

    Raises:
        MissingExtraError: the extra `onnx` is not installed.
        BundleError: there is no such bundle.
        ConfigError: no graph can be made of it.
    """
    bundle = Bundle.open(find_model_or_bundle(name)[0])
    if profile_of(bundle.sections) is OnnxProfile:
        return name
    Source.find(name)  # refuses before anything is read or announced
    place = cache / "onnx" / f"{bundle.name}-{_digest(name, bundle)}"
    if not (place / "export.json").is_file():
        note(f"exporting {bundle.name} to {place}, once")
        _export(name, place)
    return str(place)


def _digest(name: str, bundle: Bundle) -> str:
    """Another tokenizer, decoder or DVSE is another export."""
    digest = hashlib.sha256(f"{__version__} {bundle.fingerprint}".encode())
    folders = find_model_or_bundle(name)[1]
    if folders is None:
        return digest.hexdigest()[:16]
    digest.update(files_sha256(sorted(folders.decoder.glob("*.safetensors"))).encode())
    digest.update((folders.decoder / "config.json").read_bytes())
    return digest.hexdigest()[:16]


def _export(name: str, place: Path) -> None:
    from pipelines.runtimes.onnx_export import export_onnx

    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".export.", dir=place.parent))
    try:
        export_onnx(name, draft / place.name)
        if not place.exists():  # another process may have been faster
            (draft / place.name).replace(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
