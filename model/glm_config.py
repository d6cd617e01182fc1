"""Reading a GLM-4 `config.json` as this model's."""

from typing import Any

from transformers import GlmConfig

from .errors import ModelConfigError

# Written by transformers, meaningless for another architecture.
_NOT_TRANSLATED = ("architectures", "transformers_version", "model_type", "auto_map")


def translate_config(config: dict[str, Any]) -> dict[str, Any]:
    """Turn the contents of a GLM `config.json` into a `DvseConfig`'s; its own pass unchanged.

    Raises:
        ModelConfigError: a configuration of another architecture.
    """
    kind = config.get("model_type", "dvse")
    if kind == "dvse":
        return config
    if kind != "glm":
        raise ModelConfigError(
            f"expected a config.json of model_type 'dvse' or 'glm', got {kind!r}: GLM-4 loads in "
            "transformers' own layout, for example glm-4-9b-chat-hf."
        )
    fields = GlmConfig.from_dict(config).to_dict()
    return {key: fields[key] for key in fields if key not in _NOT_TRANSLATED}
