"""Where a bundle lies: a shipped name, a published one, a path, or a Hugging Face Hub id."""

from collections.abc import Sequence
from pathlib import Path

from dvse.errors import BundleNotFoundError
from dvse.plugins import plugins

SHIPPED = Path(__file__).parents[1] / "bundles"

_HUB_FILES = [
    prefix + name
    for prefix in ("", "bundle/")
    for name in ("*.json", "processing_dvse.py", "text/*", "image/*", "audio/*")
]


def find_bundle(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    more_files: Sequence[str] = (),
) -> Path:
    """Return the directory of a shipped or published name, a path, or a Hugging Face Hub id.

    A published tokenizer (`pipelines/registry/bundles.toml`) is downloaded, checked and converted
    the first time. A model directory is searched for the bundle inside it. Of a Hub repository only
    what a bundle consists of is fetched, and files that match `more_files`, such as a model's
    weights.

    Raises:
        BundleNotFoundError: none of these.
        BundleError: a published one that cannot be had, or is not what it should be.
    """
    folder = Path(name)
    found = _bundle_in(folder) or _bundle_in(SHIPPED / str(name))
    if found is not None:
        return found
    published = list(plugins("dvse.bundles"))
    for registry in published if "/" not in str(name) and not folder.exists() else ():
        if (made := registry.find(str(name))) is not None:
            return made
    shipped = sorted(p.name for p in SHIPPED.glob("*") if (p / "dvse.json").is_file())
    shipped += [known for registry in published for known in registry.names()]
    if folder.exists() or str(name).count("/") != 1 or str(name).startswith((".", "~", "/")):
        raise BundleNotFoundError(
            f"no bundle {str(name)!r}: expected a shipped name {shipped}, a directory with a "
            "dvse.json, or a Hugging Face id like 'owner/name'"
        )
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                str(name),
                revision=revision,
                token=token,
                allow_patterns=[*_HUB_FILES, *more_files],
            )
        )
    except Exception as error:  # the Hub client raises many kinds, all meaning: not to be had
        raise BundleNotFoundError(
            f"no bundle {str(name)!r}: it is neither a shipped name {shipped} nor a directory, and "
            f"the Hugging Face Hub did not give it ({type(error).__name__})"
        ) from error
    found = _bundle_in(folder)
    if found is None:
        raise BundleNotFoundError(f"{str(name)!r} was fetched, but there is no dvse.json in it")
    return found


def _bundle_in(folder: Path) -> Path | None:
    """Return the directory itself, or the bundle inside a model directory."""
    candidates = (folder, folder / "bundle")
    return next((c for c in candidates if (c / "dvse.json").is_file()), None)
