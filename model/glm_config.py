"""Reading the `config.json` of GLM-4, GLM-4-0414 and GLM-4.5 as this model's."""

from collections.abc import Callable
from typing import Any

from transformers import Glm4Config, Glm4MoeConfig, GlmConfig

from .families import FAMILIES, check_family

# Written by transformers, or of parts that are left behind (further tokens at once).
_NOT_TRANSLATED = {
    *("architectures", "transformers_version", "model_type", "auto_map"),
    *("num_mtp_layers", "num_nextn_predict_layers"),
}
_FAMILY: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "glm": (GlmConfig, {}),
    "glm4": (Glm4Config, {"use_sandwich_norm": True}),
    "glm4_moe": (Glm4MoeConfig, {}),
}


def translate_config(config: dict[str, Any]) -> dict[str, Any]:
    """Turn the contents of a GLM `config.json` into a `DvseConfig`'s; its own pass unchanged.

    Raises:
        ModelConfigError: a configuration of another architecture.
    """
    check_family(config)
    kind = config.get("model_type", FAMILIES[0])
    if kind == FAMILIES[0]:
        return config
    family, ours = _FAMILY[kind]
    fields = family.from_dict(config).to_dict()  # type: ignore[attr-defined]
    return {key: fields[key] for key in fields if key not in _NOT_TRANSLATED} | ours
