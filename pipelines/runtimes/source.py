"""What is to be exported, looked at before any weight is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvse.errors import BundleFormatError, ConfigError
from dvse.onnx_tokenizer import KIND
from dvse.storage.bundle import Bundle
from pipelines.answering.model_folders import ModelFolders, find_model_or_bundle


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model or a bundle alone.

    Attributes:
        name: as it was given.
        bundle: checked.
        folders: where the decoder lies; `None` where there is none.
        config: the decoder's `config.json`; empty without one.
    """

    name: str
    bundle: Bundle
    folders: ModelFolders | None
    config: Mapping[str, Any]

    @classmethod
    def find(cls, name: str | Path) -> "Source":
        """Find a shipped name, a directory or a Hub id, and read what is no weight.

        Raises:
            BundleError: it is not there, or not whole.
            ConfigError: what no graph can be made of: an export, quantized weights, adapters, a
                neural codec.
        """
        folder, folders = find_model_or_bundle(name)
        if folders is None:
            return cls(name=str(name), bundle=_opened(folder), folders=None, config={})
        folders.refuse_adapters("an export")
        config = read_config(folders.decoder / "config.json")
        if "quantization_config" in config:
            raise ConfigError(
                f"{folders.decoder}: its weights are quantized by torch's kernels, which no other "
                "runtime has; export the model that it was made from and choose the bits there "
                "(--weights)"
            )
        return cls(name=str(name), bundle=_opened(folder), folders=folders, config=config)


def refuse_experts(name: str | Path, config: Mapping[str, Any], target: str) -> None:
    """Refuse a decoder with experts where a target cannot choose among them.

    Args:
        name: as it was given, for messages.
        config: the decoder's `config.json`.
        target: the runtime by its name.

    Raises:
        ConfigError: it has some.
    """
    if number := config.get("n_routed_experts"):
        raise ConfigError(
            f"{name}: has {number} experts a layer, and no graph that runs only those that a token "
            f"chooses is made for {target}; export it to onnx and run that, or take a dense decoder"
        )


def refuse_uneven_rows(name: str | Path, config: Mapping[str, Any], group_size: int) -> None:
    """Refuse weights in groups of a row that do not divide it: they would stay as they are.

    Args:
        name: as it was given, for messages.
        config: the decoder's `config.json`.
        group_size: weights that share a scale.

    Raises:
        ConfigError: with the rows that are left over.
    """
    widths = {config.get("hidden_size", 0), config.get("intermediate_size", 0)}
    widths.add(config.get("num_attention_heads", 0) * (config.get("head_dim") or 0))
    if uneven := sorted(width for width in widths if width % group_size):
        raise ConfigError(
            f"{name}: groups of {group_size} weights do not divide its rows of "
            f"{', '.join(map(str, uneven))}; take --weights float32"
        )


def _opened(folder: Path) -> Bundle:
    """Open a bundle, whose files are proved by their hashes, unless no graph is made of it."""
    bundle = Bundle.open(folder)
    for modality, section in bundle.sections.items():
        kind = section.spec.get("kind")
        if kind == KIND:
            raise ConfigError(
                f"{bundle.folder}: is an export already; export the bundle that it was made from"
            )
        if modality == "audio" and kind == "codec":
            raise ConfigError(
                f"{bundle.folder}: its recordings are encoded by a neural codec, of which no graph "
                "is made; export a bundle with speech units"
            )
    return bundle


def read_config(path: Path) -> dict[str, Any]:
    """Return a decoder's `config.json`.

    Raises:
        BundleFormatError: unreadable, or no object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleFormatError(f"{path}: expected readable JSON; {error}") from error
    if not isinstance(config, dict):
        raise BundleFormatError(f"{path}: expected a JSON object")
    return config


def refuse_strangers(output: Path) -> None:
    """Refuse to write over something that is no export.

    Raises:
        ConfigError: a file, or a directory with other things in it.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output}: expected a directory, received a file")
    is_export = (output / "export.json").is_file()
    if output.is_dir() and not is_export and any(output.iterdir()):
        raise ConfigError(f"{output}: expected a new or empty directory, or an export to replace")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write an object as people read it."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
