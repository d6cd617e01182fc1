"""Reading checkpoints: this model's own, and GLM-4's in transformers' layout.

A directory like `glm-4-9b-chat-hf` is loaded by `DvseForCausalLM.from_pretrained` as it is; its
parameters have the same names (`glm_config` translates its configuration). What this file adds are
errors that name the file or tensor at fault.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from .errors import CheckpointError, MissingShardError, TensorShapeError

_INDEX = "model.safetensors.index.json"


def check_shards(directory: Path) -> None:
    """Refuse a sharded checkpoint of which a file is missing.

    Raises:
        MissingShardError: naming the files.
        CheckpointError: an index that names none.
    """
    index = directory / _INDEX
    if not index.is_file():
        return
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        names = sorted({str(name) for name in content["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index}: expected JSON with a weight_map: copy or download it again."
        ) from error
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MissingShardError(
            f"{directory} should hold {len(names)} weight files, but {', '.join(missing)} "
            f"{verb} missing: copy or download the checkpoint again."
        )


def explain_failure(directory: Path, model_class: type, config: Any) -> None:
    """After a failed load: raise the error that names the tensor or file, if there is one.

    Args:
        directory: the checkpoint.
        model_class: what was to be loaded.
        config: its `DvseConfig`.

    Raises:
        TensorShapeError: tensors whose shapes are not the configuration's.
        CheckpointError: a weight file that is cut off or no safetensors.
    """
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in model_class(config).state_dict().items()}
    wrong = []
    for file in sorted(directory.glob("*.safetensors")):
        for name, shape in _stored_shapes(file).items():
            wanted = _expected_shape(name, expected)
            if wanted is not None and wanted != shape:
                wrong.append(f"{name} is {list(shape)} instead of {list(wanted)}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise TensorShapeError(
            f"the checkpoint in {directory} does not fit its configuration: "
            f"{'; '.join(wrong[:3])}{more}. Load it with the config.json that it was saved with."
        )


def _stored_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(
            f"{file} is cut off or no safetensors file ({error}): copy or download it again."
        ) from error


def _expected_shape(name: str, expected: dict[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Shape of a stored name in a model with or without the `model.` prefix of a head."""
    for candidate in (name, f"model.{name}", name.removeprefix("model.")):
        if candidate in expected:
            return expected[candidate]
    return None
