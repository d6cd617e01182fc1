"""What a decoder's directory holds, by its JSON alone: no weight is opened, nothing imported.

Whoever is about to load a directory asks here first, so that a checkpoint of another family, or
adapters without their decoder, are one sentence and not a failure half way through the weights.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import CheckpointError, ModelConfigError

FAMILIES = ("dvse", "glm", "glm4", "glm4_moe")
"""The `model_type`s that this decoder reads: its own, GLM-4, GLM-4-0414 and GLM-4.5."""
ADAPTERS = "adapter_config.json"
_CONFIG = "config.json"


def check_family(config: Mapping[str, Any], where: str | Path = "") -> None:
    """Refuse the contents of another architecture's `config.json`.

    Raises:
        ModelConfigError: with the families that are read.

    Example:
        >>> check_family({"model_type": "glm4"})
        >>> check_family({"model_type": "llama"}, "mine")
        Traceback (most recent call last):
        ...
        model.errors.ModelConfigError: mine: expected a config.json of model_type dvse, glm, glm4, \
glm4_moe, got 'llama': GLM-4 loads in transformers' own layout, for example glm-4-9b-chat-hf.
    """
    kind = config.get("model_type", FAMILIES[0])
    if kind not in FAMILIES:
        about = f"{where}: " if where else ""
        raise ModelConfigError(
            f"{about}expected a config.json of model_type {', '.join(FAMILIES)}, got {kind!r}: "
            "GLM-4 loads in transformers' own layout, for example glm-4-9b-chat-hf."
        )


def check_decoder_directory(directory: str | Path) -> Mapping[str, Any]:
    """Return a decoder's `config.json`, of a family that this decoder reads.

    Raises:
        CheckpointError: there is none, or it cannot be read; it says where adapters lie alone.
        ModelConfigError: another family's.
    """
    directory = Path(directory)
    refuse_lone_adapters(directory)
    path = directory / _CONFIG
    if not path.is_file():
        raise CheckpointError(
            f"expected a GLM checkpoint with a config.json, found none in {directory}: give the "
            "directory that transformers' save_pretrained wrote."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected readable JSON; {error}.") from error
    check_family(config, directory)
    return config


def refuse_lone_adapters(directory: str | Path) -> None:
    """Refuse a directory that holds adapters of PEFT and no decoder.

    Raises:
        CheckpointError: it names the decoder that they were put on.
    """
    if (base := base_of_lone_adapters(directory)) is not None:
        raise CheckpointError(
            f"{directory}: holds adapters of the decoder {base or '(none named)'} and no decoder: "
            "give that one, or load both and write them merged with save_model(..., merge=True)."
        )


def base_of_lone_adapters(directory: str | Path) -> str | None:
    """Return what adapters without a decoder beside them name as theirs; `None` for all else."""
    path = Path(directory) / ADAPTERS
    if not path.is_file() or (Path(directory) / _CONFIG).is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return str(config.get("base_model_name_or_path") or "")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
