"""Where a model lies, and what in it is refused before any weight is read.

Every door (caption, serve, quantize, evaluate, the exports) comes through `find_model`. It knows
names, folders and what stands in JSON; nothing is loaded.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from dvse.errors import BundleFormatError, BundleNotFoundError, ConfigError
from dvse.storage.finding import find_bundle
from model.errors import ModelConfigError
from model.families import base_of_lone_adapters, check_family
from pipelines.answering.adapters import AdapterBase

GRAPH = "model.onnx"
"""The decoder's file in a model that was exported, see `exported_model`."""
CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class ModelFolders:
    """Where the two halves of a model lie: the same folder, or the bundle in a folder inside.

    Attributes:
        name: what people call the model: a shipped name, a folder's name, a Hub id.
        decoder: holds `config.json`.
        bundle: holds `dvse.json`.
        adapters: holds `adapter_config.json`, where the model is a decoder with adapters.
    """

    name: str
    decoder: Path
    bundle: Path
    adapters: Path | None = None

    @property
    def is_exported(self) -> bool:
        """Whether the decoder is a graph for ONNX Runtime, without weights for torch."""
        return (self.decoder / GRAPH).is_file()

    def refuse_export(self) -> None:
        """Refuse an export where torch is to compute.

        Raises:
            ConfigError: it is one.
        """
        if self.is_exported:
            raise ConfigError(
                f"{self.decoder}: an export for ONNX Runtime, which holds no weights for torch; "
                "Captioner and dvse caption run it, everything else takes what it was made from"
            )

    def refuse_adapters(self, what: str) -> None:
        """Refuse adapters where something takes a decoder alone.

        Raises:
            ConfigError: there are some.
        """
        if self.adapters is not None:
            raise ConfigError(
                f"{self.adapters}: {what} takes no adapters beside a decoder; merge them with "
                "save_model(load_model(...).model, ..., merge=True)"
            )


def find_model(
    name: str | Path, *, revision: str | None = None, token: str | bool | None = None
) -> ModelFolders:
    """Return the folders of a shipped name, a directory or a Hugging Face Hub id.

    Raises:
        BundleNotFoundError: none of the three, a bundle without a decoder, or adapters whose
            decoder is not there.
        BundleFormatError: the decoder is of another family.
        ModelMismatchError: adapters whose decoder is another one now.
    """
    bundle, found = find_model_or_bundle(name, revision=revision, token=token)
    if found is None:
        raise BundleNotFoundError(
            f"{str(name)!r} is a bundle without a decoder: expected {CONFIG} and "
            f"model.safetensors in {bundle}; it can tokenise but not answer, train a decoder on it "
            "with dvse train decoder"
        )
    return found


def find_model_or_bundle(
    name: str | Path, *, revision: str | None = None, token: str | bool | None = None
) -> tuple[Path, ModelFolders | None]:
    """Return the folder of a bundle, and those of the model that it lies in, if it does.

    Raises:
        BundleError: as `find_model`, but for a bundle alone.
    """
    _refuse_lone_adapters(Path(name))
    bundle = find_bundle(
        name, revision=revision, token=token, more_files=["*.safetensors", "*.onnx*"]
    )
    inside = bundle.parent if bundle.name == "bundle" else bundle
    called = Path(name).resolve().name if Path(name).is_dir() else str(name)
    if (base := AdapterBase.read(bundle)) is not None:
        below = _decoder_of(base, bundle, token=token)
        return bundle, ModelFolders(name=called, decoder=below, bundle=bundle, adapters=bundle)
    decoder = next((f for f in (bundle, inside) if (f / CONFIG).is_file()), None)
    if decoder is None:
        _refuse_lone_adapters(bundle)
        return bundle, None
    _refuse_other_family(decoder)
    return bundle, ModelFolders(name=called, decoder=decoder, bundle=bundle)


def _refuse_lone_adapters(folder: Path) -> None:
    """Adapters as PEFT writes them say nothing of bundle and hash: nobody can prove the decoder."""
    base = base_of_lone_adapters(folder)
    if base is None or AdapterBase.read(folder) is not None:
        return
    raise BundleNotFoundError(
        f"{folder}: holds adapters of the decoder {base or '(none named)'} as PEFT writes them, "
        "and no decoder; put them on it, and save both with save_model"
    )


def _refuse_other_family(decoder: Path) -> None:
    try:
        config = json.loads((decoder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ModelConfigError(f"expected a JSON object in {CONFIG}.")
        check_family(config)
    except ModelConfigError as error:
        raise BundleFormatError(f"{decoder}: the decoder cannot be loaded; {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleFormatError(
            f"{decoder}: the decoder cannot be loaded; expected readable JSON in {CONFIG}; {error}"
        ) from error


def _decoder_of(base: AdapterBase, adapters: Path, *, token: str | bool | None) -> Path:
    """Find the decoder of adapters by its name, or beside them, and check that it is the one."""
    found = None
    for source in (base.source, adapters.parent / Path(base.source).name):
        try:
            found = find_model(source, revision=base.revision, token=token)
            break
        except BundleNotFoundError:
            continue
    if found is None:
        raise BundleNotFoundError(
            f"{adapters}: holds adapters of the decoder {base.source}, which is not there; put it "
            "back, or beside the adapters"
        )
    base.check(found.decoder, adapters)
    return found.decoder
