"""A model directory: a Hugging Face decoder and the bundle whose ids it reads, side by side.

    config.json, generation_config.json, *.safetensors     the decoder, as `save_pretrained` writes
    modeling_dvse.py                                       where its code is, for vLLM and others
    dvse.json, vocabulary.json, text/, image/, audio/ …     the bundle, see `dvse.storage.bundle`

Of a decoder with adapters the directory holds these and names the decoder, see
`pipelines.answering.adapters`.

`dvse.load`, `AutoProcessor` and `AutoModelForCausalLM` each open it as it is, and one Hub
repository holds it; with `trust_remote_code=True` vLLM and others do so without importing DVSE,
by way of `modeling_dvse.py`. The decoder's config names the bundle's fingerprint, so that ids never
reach a decoder that was trained on others. Knows files and fingerprints, nothing of prompts or
answers.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvse.errors import BundleFormatError, ConfigError, ModelMismatchError
from dvse.origin import source_of
from dvse.quiet_transformers import without_library_lines
from dvse.special_tokens import END_OF_TEXT, USER
from dvse.storage.bundle import Bundle
from dvse.storage.finding import find_bundle
from pipelines.answering.adapters import (
    AdapterBase,
    attach,
    base_folder,
    has_adapters,
    write_adapters,
)
from pipelines.answering.merged_adapters import without_adapters
from pipelines.answering.model_folders import CONFIG, ModelFolders, find_model
from pipelines.answering.model_origin import ModelOrigin, decoder_sha256
from pipelines.answering.room import check_room
from pipelines.answering.weight_format import (
    Quantization,
    check_quantization,
    dtype_of,
    in_bits,
)
from pipelines.answering.whole_directory import write_whole

if TYPE_CHECKING:
    import torch

    from dvse.tokenizer import Tokenizer
    from model import DvseConfig, DvseForCausalLM
    from model.graph.onnx_decoder import OnnxDecoderConfig
    from model.plain.config import PlainConfig

STOP_TOKENS = (END_OF_TEXT, USER)

_MODEL_CODE = '''"""Lets others find DVSE's decoder; the dvse package holds the code."""

try:
    from model import DvseConfig, DvseForCausalLM, DvseModel
except ImportError as error:
    raise ImportError("expected the package dvse to be installed beside this one") from error

__all__ = ["DvseConfig", "DvseForCausalLM", "DvseModel"]
'''
_AUTO_MAP = {
    "AutoConfig": "modeling_dvse.DvseConfig",
    "AutoModel": "modeling_dvse.DvseModel",
    "AutoModelForCausalLM": "modeling_dvse.DvseForCausalLM",
    "AutoModelForImageTextToText": "modeling_dvse.DvseForCausalLM",
    "AutoModelForMultimodalLM": "modeling_dvse.DvseForCausalLM",
}


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A decoder and its tokenizer, ready to answer.

    Attributes:
        name: what people call the model.
        model: the decoder, in eval mode on `device`; an `OnnxDecoder` of an `ExportedModel`.
        tokenizer: its front door, with the encoders on `device`.
        device: `cpu`, `cuda` or `cuda:N`.
        source: shipped name or path that it was loaded from. A loaded model can be pickled: other
            processes load it again from there.
        quantize: bits of the weights, where they were rounded on the way in.
    """

    name: str
    model: "DvseForCausalLM"
    tokenizer: "Tokenizer"
    device: str
    source: str | None = None
    quantize: Quantization | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.source is None or self.tokenizer.origin is None:
            raise ConfigError("only a model that was loaded can be pickled; save it, load it")
        origin = ModelOrigin(
            name=self.name,
            source=self.source,
            tokenizer=self.tokenizer.origin,
            decoder=decoder_sha256(self.model),
            device=self.device,
            dtype=self.model.dtype,
            quantize=self.quantize,
        )
        return load_again, (origin,)


def load_model(
    name: str | Path,
    *,
    device: str = "cpu",
    dtype: "str | torch.dtype | None" = None,
    quantize: Quantization | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    **encoders: Any,
) -> LoadedModel:
    """Load a decoder with its tokenizer.

    Args:
        name: a shipped name (`tiny`), a model directory, or a Hugging Face Hub id.
        device: `cpu`, `cuda` or `cuda:N`, for the encoders and the decoder.
        dtype: of the decoder's weights, such as `bfloat16`; by default as they are stored.
        quantize: round the decoder's weights to 8 or 4 bits on the way in, see `model.quantize`.
        revision, token: branch, tag or commit of a Hub id, and the right to read it.
        encoders: what `dvse.load` takes of them, part of the numerics profile: threads, precision,
            batch_tokens.

    Raises:
        BundleError: it is not there, not whole, or has no decoder.
        ModelMismatchError: the decoder was made for another bundle.
        ConfigError: no such device or dtype, a decoder that cannot be quantized, or one that there
            is no room for.
    """
    folders = find_model(name, revision=revision, token=token)
    folders.refuse_export()

    import dvse
    from model import ModelError, load_whole

    wanted = dtype_of(dtype)
    if quantize is not None:
        folders.refuse_adapters("quantizing")
    config = _config_of(folders)
    group_size = check_quantization(config, quantize, folders.decoder)
    check_room(folders.decoder, device=device, dtype=wanted)
    tokenizer = dvse.load(folders.bundle, device=device, **encoders)
    check_belong(config, tokenizer.fingerprint, folders)
    try:
        with without_library_lines():
            model = load_whole(folders.decoder, dtype=wanted)
        model = in_bits(model, quantize, group_size)
    except (ModelError, OSError) as error:
        raise _unloadable(folders, error) from error
    if folders.adapters is not None:
        attach(model, folders.adapters)
    return LoadedModel(
        name=folders.name,
        model=model.eval().to(device),
        tokenizer=tokenizer,
        device=device,
        source=source_of(folders.adapters or folders.decoder),
        quantize=quantize,
    )


def _config_of(folders: ModelFolders) -> "DvseConfig":
    """Return the decoder's configuration, if what it asks for is here."""
    from model import DvseConfig, ModelError
    from model.quantization_config import check_kernels

    try:
        config = DvseConfig.from_pretrained(folders.decoder)
        check_kernels(config)
    except (ModelError, OSError) as error:
        raise _unloadable(folders, error) from error
    return config


def _unloadable(folders: ModelFolders, error: Exception) -> BundleFormatError:
    """Return the error that says which decoder cannot be loaded, and why."""
    return BundleFormatError(f"{folders.decoder}: the decoder cannot be loaded; {error}")


def load_again(origin: ModelOrigin) -> LoadedModel:
    """Load the model that was pickled.

    Raises:
        BundleError: it is not there any more, or another one is.
    """
    loaded = load_model(
        origin.source, dtype=origin.dtype, quantize=origin.quantize, **origin.tokenizer.how()
    )
    origin.check(loaded.tokenizer.fingerprint, loaded.model)
    return replace(loaded, name=origin.name)


def check_belong(
    config: "DvseConfig | PlainConfig | OnnxDecoderConfig", fingerprint: str, folders: ModelFolders
) -> None:
    """Refuse a decoder that was made for another bundle than the one with `fingerprint`.

    Raises:
        ModelMismatchError: with both fingerprints.
    """
    made_for = config.bundle_fingerprint
    if made_for != fingerprint:
        raise ModelMismatchError(
            f"{folders.decoder}: the decoder was made for the bundle with fingerprint "
            f"{made_for or '(none named)'}, the bundle beside it has {fingerprint}; its ids would "
            "mean other things, so put the bundle back that it was trained on, or train again"
        )


def save_model(
    model: "DvseForCausalLM",
    bundle_folder: str | Path,
    directory: str | Path,
    *,
    merge: bool | None = None,
) -> Path:
    """Write a model directory, in place of a model that lies there, and return it.

    The whole is written beside it and takes its name at the end, so a kill leaves the old model or
    the new one. The decoder's config is marked with the bundle's fingerprint, and its generation
    config with the ids at which an answer ends.

    Args:
        model: the decoder, with or without adapters of PEFT.
        bundle_folder: the bundle (or its shipped name) whose ids it reads; copied.
        directory: where; `bundle_folder` itself is allowed.
        merge: what becomes of adapters. True: they are merged into a copy of the decoder, and the
            directory opens everywhere. False: they are saved alone, and name the decoder that they
            were put on. By default alone where there is such a decoder on disk or on the Hub, as
            it was loaded, else merged.

    Raises:
        ModelMismatchError: the bundle has more ids than the decoder.
        ConfigError: `directory` is a file or holds something else already, or the model has
            adapters that cannot be merged, or not be saved alone.
        BundleError: no bundle there.
    """
    directory = Path(directory).absolute()
    bundle = Bundle.open(find_bundle(bundle_folder))
    base = None if merge else _base(model, bundle, directory, must=merge is False)
    if base is None:
        model = without_adapters(model)
    num_ids = bundle.vocabulary.num_ids
    if model.config.vocab_size < num_ids:
        raise ModelMismatchError(
            f"the bundle {bundle.name!r} has {num_ids} ids, the decoder only "
            f"{model.config.vocab_size}; make it with vocab_size={bundle.vocabulary.size}"
        )
    refuse_strangers(directory)
    if base is not None:
        return _written(directory, bundle, lambda draft: _write_adapters(model, base, draft))
    model.config.bundle_fingerprint = bundle.fingerprint
    model.config.auto_map = dict(_AUTO_MAP)
    specials = bundle.vocabulary.special_tokens
    assert model.generation_config is not None
    model.generation_config.eos_token_id = [specials[name] for name in STOP_TOKENS]
    model.generation_config.pad_token_id = specials[END_OF_TEXT]
    return _written(directory, bundle, lambda draft: _write_decoder(model, draft))


def _written(directory: Path, bundle: Bundle, write: Callable[[Path], None]) -> Path:
    def whole(draft: Path) -> None:
        bundle.copy_to(draft)
        with without_library_lines():
            write(draft)

    return write_whole(directory, whole)


def _write_decoder(model: "DvseForCausalLM", folder: Path) -> None:
    model.save_pretrained(folder)
    (folder / "modeling_dvse.py").write_text(_MODEL_CODE, encoding="utf-8")


def _write_adapters(model: Any, base: AdapterBase, folder: Path) -> None:
    write_adapters(model, folder)
    base.write(folder)


def _base(model: Any, bundle: Bundle, directory: Path, *, must: bool) -> AdapterBase | None:
    """The decoder under adapters, if it can be named; `None` also without adapters."""
    if not has_adapters(model):
        return None
    if not hasattr(model, "merge_and_unload") and hasattr(model, "get_base_model"):
        return None  # learnt prompts and their like, which merging will refuse
    folder = base_folder(model)
    is_named = folder is not None and model.config.bundle_fingerprint == bundle.fingerprint
    if folder is None or not is_named or folder.absolute() == directory:
        if must:
            raise ConfigError(
                "the adapters cannot be saved alone: their decoder was not loaded from a model "
                f"directory with the bundle {bundle.name!r}, or its own weights were changed; "
                "save that decoder first, elsewhere, or merge"
            )
        return None
    return AdapterBase.of(folder, bundle.fingerprint)


def refuse_strangers(directory: Path) -> None:
    """Refuse to write a model over something that is none.

    Raises:
        ConfigError: a file, or a directory with other things in it.
    """
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{directory}: expected a directory, received a file")
    is_ours = (directory / "dvse.json").is_file() or _is_decoder(directory / CONFIG)
    if directory.is_dir() and not is_ours and any(directory.iterdir()):
        raise ConfigError(f"{directory}: expected a new or empty directory, or a model to replace")


def _is_decoder(config: Path) -> bool:
    """Whether it is a decoder's of this project, and no other model's, which nobody replaces."""
    try:
        return bool(json.loads(config.read_text(encoding="utf-8"))["model_type"] == "dvse")
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False
