"""Named shapes of the decoder.

`tiny` is trained and shipped with its bundle, `9b` is GLM-4-9B's shape, `9b-moe` spends about as
many parameters on experts in GLM-4.5's layout and uses a sixth of them for a token.
"""

from typing import Any

from .configuration_dvse import DvseConfig, checked_config
from .errors import ModelConfigError

_PRESETS: dict[str, dict[str, Any]] = {
    # 2.8 M parameters and 256 a vocabulary row: 24 MB in single precision at 12,672 ids. One of the
    # rotary frequencies turns once in 16 positions, the width of the largest grid of pictures that
    # it is trained on, so that columns can be told from positions: 1770 ** (-1/8) = 2 pi / 16.
    "tiny": {
        "vocab_size": 12_672,
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1770.0,
            "partial_rotary_factor": 0.5,
        },
        "tie_word_embeddings": True,
    },
    "9b": {},
    "9b-moe": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "n_routed_experts": 64,
        "num_experts_per_tok": 6,
        "n_shared_experts": 1,
        "moe_intermediate_size": 768,
        "first_k_dense_replace": 1,
        "rms_norm_eps": 1e-5,
    },
}

PRESET_NAMES = tuple(_PRESETS)


def preset(name: str, **overrides: Any) -> DvseConfig:
    """Return the configuration called `name`: `tiny`, `9b` or `9b-moe`, with fields overridden.

    Raises:
        ModelConfigError: no such preset, or an override that does not fit.

    Example:
        >>> preset("9b").num_hidden_layers, preset("tiny", vocab_size=4096).vocab_size
        (40, 4096)
    """
    if name not in _PRESETS:
        raise ModelConfigError(f"expected a preset out of {', '.join(_PRESETS)}, got {name!r}.")
    return checked_config({**_PRESETS[name], **overrides})
