"""What is to be exported, looked at before any weight is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvse.errors import BundleFormatError, BundleNotFoundError, ConfigError
from dvse.onnx_tokenizer import KIND
from dvse.storage.bundle import Bundle
from dvse.storage.finding import find_bundle
from pipelines.answering.model_directory import ModelFolders, find_model


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
        bundle = Bundle.open(find_bundle(name))
        _refuse_sections(bundle)
        try:
            folders = find_model(name)
        except BundleNotFoundError:
            return cls(name=str(name), bundle=bundle, folders=None, config={})
        folders.refuse_adapters("an export")
        config = _read_config(folders.decoder / "config.json")
        if "quantization_config" in config:
            raise ConfigError(
                f"{folders.decoder}: its weights are quantized by torch's kernels, which no other "
                "runtime has; export the model that it was made from and choose the bits there "
                "(--weights)"
            )
        return cls(name=str(name), bundle=bundle, folders=folders, config=config)

    @property
    def has_experts(self) -> bool:
        """Whether the decoder has routed experts."""
        return bool(self.config.get("n_routed_experts"))

    def refuse_experts(self, target: str) -> None:
        """Refuse a decoder with experts where a target cannot choose among them.

        Raises:
            ConfigError: it has some.
        """
        if self.has_experts:
            raise ConfigError(
                f"{self.name}: has {self.config['n_routed_experts']} experts a layer, and {target} "
                "has no operator that runs only those that a token chooses; export it to onnx, or "
                "a dense decoder"
            )


def _refuse_sections(bundle: Bundle) -> None:
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


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
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
