"""Adapters of PEFT beside the decoder that they change: a small directory that names its base.

    adapter_config.json, adapter_model.safetensors      as PEFT writes and reads them
    adapter_base.json                                   the decoder they belong to, by name and hash
    dvse.json, …                                        the bundle, as in a model directory

Weights of the base are not written again: they are found by name when the adapters are loaded, and
proved by their hash.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dvse.errors import (
    BundleFormatError,
    ConfigError,
    MissingExtraError,
    ModelMismatchError,
)
from dvse.origin import source_of
from dvse.storage.file_hash import files_sha256

FILE = "adapter_base.json"
_FORMAT = {"format": "dvse-adapter", "format_version": 1}


@dataclass(frozen=True, kw_only=True)
class AdapterBase:
    """The decoder that adapters belong to.

    Attributes:
        source: shipped name, absolute path or Hub id.
        revision: of a Hub id.
        sha256: of its configuration and weights, see `decoder_files_sha256`.
        bundle_fingerprint: whose ids it reads.
    """

    source: str
    revision: str | None = None
    sha256: str
    bundle_fingerprint: str

    @classmethod
    def of(cls, decoder: Path, fingerprint: str) -> "AdapterBase":
        """Describe a decoder's folder."""
        source, revision = _named(decoder)
        return cls(
            source=source,
            revision=revision,
            sha256=decoder_files_sha256(decoder),
            bundle_fingerprint=fingerprint,
        )

    def write(self, folder: Path) -> None:
        """Write it beside the adapters."""
        text = json.dumps({**_FORMAT, **asdict(self)}, indent=2)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "AdapterBase | None":
        """Read what `write` wrote; `None` where no adapters lie.

        Raises:
            BundleFormatError: another format.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if {name: document.pop(name) for name in _FORMAT} != _FORMAT:
                raise ValueError("another format or version")
            return cls(**document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleFormatError(f"{path}: expected the base of adapters; {error}") from error

    def check(self, decoder: Path, adapters: Path) -> None:
        """Refuse another decoder than the one that was described.

        Raises:
            ModelMismatchError: with both hashes.
        """
        if (found := decoder_files_sha256(decoder)) != self.sha256:
            raise ModelMismatchError(
                f"{adapters}: the adapters belong to the decoder {self.source} with sha256 "
                f"{self.sha256[:16]}…, found {found[:16]}…; put that one back"
            )


def has_adapters(model: Any) -> bool:
    """Whether a decoder has adapters, wrapped by `peft.get_peft_model` or by `add_adapter`."""
    return hasattr(model, "get_base_model") or bool(getattr(model, "_hf_peft_config_loaded", False))


def base_folder(model: Any) -> Path | None:
    """Return the folder that the decoder under adapters was loaded from, if it is as it was there.

    `None` for a decoder that was made in memory, or whose own weights were trained besides.
    """
    decoder = model.get_base_model() if hasattr(model, "get_base_model") else model
    folder = Path(getattr(decoder, "name_or_path", "") or "")
    if not (folder / "config.json").is_file():
        return None
    return folder if _is_unchanged(model, folder) else None


def write_adapters(model: Any, folder: Path) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        ConfigError: more than one set of adapters.
    """
    names = sorted(model.peft_config)
    if len(names) != 1:
        raise ConfigError(
            f"expected one set of adapters, received {', '.join(names)}; delete the others or merge"
        )
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty form


def attach(decoder: Any, folder: Path) -> None:
    """Put the adapters in a folder onto their decoder, in place.

    Raises:
        MissingExtraError: PEFT is not installed.
        BundleFormatError: they cannot be read, or do not fit.
    """
    try:
        import peft  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError.for_extra("peft", "peft") from None
    try:
        decoder.load_adapter(str(folder))
    except Exception as error:  # PEFT, safetensors and torch refuse in many ways
        message = " ".join(str(error).split())[:300]
        raise BundleFormatError(f"{folder}: the adapters cannot be loaded; {message}") from error


def decoder_files_sha256(folder: Path) -> str:
    """Return a hash of a decoder's files by name and content."""
    files = (folder / "config.json", *sorted(folder.glob("*.safetensors")))
    stats = [file.stat() for file in files]
    return _sha256(files, tuple((stat.st_size, stat.st_mtime_ns) for stat in stats))


@lru_cache(maxsize=8)
def _sha256(files: tuple[Path, ...], stamps: tuple[tuple[int, int], ...]) -> str:
    """Return the hash of files that were last touched so: a model is looked for more than once."""
    return files_sha256(list(files))


def _named(decoder: Path) -> tuple[str, str | None]:
    """Return by what a decoder is found again; a snapshot in the Hub's cache by its id.

    >>> _named(Path("/cache/hub/models--me--mine/snapshots/0a1b"))
    ('me/mine', '0a1b')
    """
    parts = decoder.parts
    for place, part in enumerate(parts[:-2]):
        if part.startswith("models--") and parts[place + 1] == "snapshots":
            return part.removeprefix("models--").replace("--", "/"), parts[place + 2]
    return source_of(decoder), None


def _is_unchanged(model: Any, folder: Path) -> bool:
    from dvse.storage.weights import read_tensors

    own = _own_weights(model.state_dict())
    for path in sorted(folder.glob("*.safetensors")):
        for name, stored in read_tensors(path).items():
            mine = own.get(name)
            if mine is None or mine.shape != stored.shape:
                return False
            if not (mine.detach().cpu() == stored.to(mine.dtype)).all():
                return False
    return True


def _own_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """The decoder's own weights under their own names, whatever PEFT has put around them."""
    found: dict[str, Any] = {}
    for name, value in state.items():
        name = name.removeprefix("base_model.model.")
        for around in (".token_adapter.base_layer.", ".base_layer.", ".original_module."):
            name = name.replace(around, ".")
        found.setdefault(name, value)
    return found
