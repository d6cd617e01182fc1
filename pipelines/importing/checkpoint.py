"""Published checkpoints as tensors and settings: safetensors, or torch files without their code.

Torch's own reader with `weights_only` runs nothing, but stops at the configuration objects that
fairseq and omegaconf leave in a checkpoint. Those names stand on an exact list here and become an
inert class that keeps its attributes; every other name is refused.
"""

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvse.errors import BundleNotFoundError, UnsafeFileError, WeightsFormatError
from dvse.storage.file_hash import file_sha256

_SETTING_CLASSES = (
    "argparse.Namespace",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.StringNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.BooleanNode",
    "omegaconf.nodes.EnumNode",
    "typing.Any",
    "fairseq.dataclass.constants.ChoiceEnum",
    "fairseq.data.dictionary.Dictionary",
)

_DEEPEST = 12
_BEFORE_1_6 = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""A pickled number, with which torch files began before they were zip archives."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        tensors: by name.
        settings: plain values that stood beside them, flattened: of equal names the innermost.
        provenance: file name and sha256.
    """

    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]


class _Kept:
    """Stands for an object of settings; holds what was set on it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file.

    Raises:
        BundleNotFoundError: no such file.
        UnsafeFileError: it names something that could run code.
        WeightsFormatError: no checkpoint, damaged, or without tensors.
    """
    if not path.is_file():
        raise BundleNotFoundError(f"{path}: expected a checkpoint file, there is none")
    with path.open("rb") as file:
        is_safetensors = file.read(9)[8:] == b"{"
    content = _read_safetensors(path) if is_safetensors else _read_torch(path)
    settings: dict[str, Any] = {}
    tensors = _tensors(content)
    if not tensors:
        raise WeightsFormatError(
            f"{path}: expected tensors, at the top or under 'model' or 'state_dict', found none"
        )
    for name, value in tensors.items():
        if not is_plain(value):
            raise WeightsFormatError(
                f"{path}: expected plain tensors of real numbers, received {name!r}, which is "
                "complex, sparse, nested, quantized or without values"
            )
    if isinstance(content, dict):
        for name in ("args", "cfg", "config", "hparams"):
            _flatten(content.get(name), settings, depth=0)
    return Checkpoint(
        tensors=tensors,
        settings=settings,
        provenance={"file": path.name, "sha256": file_sha256(path)},
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsFormatError(f"{path}: expected a safetensors file; {error}") from error


def _read_torch(path: Path) -> Any:
    if not is_torch_file(path):
        raise WeightsFormatError(
            f"{path}: expected a checkpoint of torch or safetensors, received a file that begins "
            "as neither does; nothing in it was run"
        )
    allowed: list[Any] = [(_kept(name), name) for name in _SETTING_CLASSES]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = " ".join(str(error).split())
        if "GLOBAL" in text or "global" in text:
            at = text.find("GLOBAL")
            raise UnsafeFileError(
                f"{path}: expected tensors and settings alone, received a checkpoint that names "
                f"something else, which was not run: {text[at : at + 120]}"
            ) from error
        raise _damaged(path, text) from error
    except Exception as error:  # zip and storage errors of many kinds
        raise _damaged(path, " ".join(str(error).split())) from error


def is_torch_file(path: Path) -> bool:
    """Whether a file begins as `torch.save` writes it: a zip archive, or a number of before 1.6."""
    with path.open("rb") as file:
        return file.read(len(_BEFORE_1_6)).startswith((b"PK\x03\x04", _BEFORE_1_6))


def _kept(name: str) -> type:
    return type("_Kept", (_Kept,), {"name": name})


def _damaged(path: Path, text: str) -> WeightsFormatError:
    return WeightsFormatError(
        f"{path}: expected a checkpoint of torch or safetensors, whole; {text[:120]}; download it "
        "again"
    )


def _tensors(content: Any, depth: int = 0) -> dict[str, Tensor]:
    if not isinstance(content, dict) or depth > _DEEPEST:
        return {}
    for name in ("model", "state_dict", "model_state_dict", "model_weight"):
        if isinstance(content.get(name), dict):
            return _tensors(content[name], depth + 1)
    return {str(k): v for k, v in content.items() if isinstance(v, Tensor)}


def is_plain(value: Any) -> bool:
    """Whether this is a tensor of real numbers whose values are here, one beside the other."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_nested or value.is_quantized or value.is_complex())
        and value.device.type == "cpu"
    )


def _flatten(value: Any, settings: dict[str, Any], *, depth: int) -> None:
    """Gather plain values by name out of dictionaries and kept objects."""
    if depth > _DEEPEST:
        return
    entries = _plain(value)
    if not isinstance(entries, Mapping):
        return
    for name, inner in entries.items():
        plain = _plain(inner)
        if isinstance(plain, Mapping):
            _flatten(plain, settings, depth=depth + 1)
        elif isinstance(name, str) and isinstance(plain, str | int | float | bool):
            settings[name] = plain


def _plain(value: Any) -> Any:
    """Take an omegaconf node or container, or a namespace, for what it holds."""
    if isinstance(value, _Kept):
        state = value.__dict__
        return state.get("_content", state.get("_val", state))
    return value
