"""What of a `config.json` answering needs, read without transformers.

Every value comes from the file: where one is missing, or the file asks for what is not plain
(experts, quantized weights, scaled positions), there is no plain decoder and the full one is
loaded. So the defaults of `DvseConfig` are not said again here.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PlainConfig:
    """Shape of a decoder without experts; names and meanings are `DvseConfig`'s.

    Attributes:
        rope_theta, rotary_size: base of the angles, and dimensions of a head that are rotated.
        dtype: of the weights as they are stored.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    attention_bias: bool
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    rotary_size: int
    use_token_gate: bool
    gate_thresholds: tuple[float, ...] | None
    tie_word_embeddings: bool
    bundle_fingerprint: str | None
    dtype: str
    use_qk_norm: bool = False  # files of before these two do not have them
    use_sandwich_norm: bool = False

    @classmethod
    def read(cls, path: Path) -> "PlainConfig | None":
        """Read a `config.json`; `None` where it is unreadable or not that of a plain decoder."""
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(given, dict) or not _is_plain(given):
            return None
        rope = given["rope_parameters"]
        thresholds = given["gate_thresholds"]
        made: dict[str, Any] = {
            "rope_theta": rope["rope_theta"],
            "rotary_size": int(given["head_dim"] * rope["partial_rotary_factor"]),
            "gate_thresholds": None if thresholds is None else tuple(thresholds),
        }
        wanted = [one for one in fields(cls) if one.name not in made]
        read = {
            one.name: given[one.name]
            for one in wanted
            if one.name in given or one.default is MISSING
        }
        return cls(**read, **made)

    def gate_threshold(self, layer_idx: int) -> float:
        """The logit from which on the gate of layer `layer_idx` is open."""
        return 0.0 if self.gate_thresholds is None else float(self.gate_thresholds[layer_idx])


_WHOLE_NUMBERS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
_SWITCHES = ("attention_bias", "use_token_gate", "tie_word_embeddings")
_LATER_SWITCHES = ("use_qk_norm", "use_sandwich_norm")
# What else stands in a file and does not touch an answer: training, experts that are not there,
# how others find the code. A key that is in neither list is for the full decoder to judge.
_WITHOUT_EFFECT = frozenset(
    {
        "architectures",
        "attention_dropout",
        "auto_map",
        "bos_token_id",
        "eos_token_id",
        "first_k_dense_replace",
        "gate_bias_init",
        "gate_loss_coef",
        "gate_target_share",
        "initializer_range",
        "moe_intermediate_size",
        "n_group",
        "n_shared_experts",
        "norm_topk_prob",
        "num_experts_per_tok",
        "output_gate_logits",
        "output_router_logits",
        "pad_token_id",
        "routed_scaling_factor",
        "router_aux_loss_coef",
        "topk_group",
        "transformers_version",
        "use_cache",
    }
)
_READ = frozenset({"model_type", "hidden_act", "rope_parameters", "n_routed_experts"})


def _is_plain(given: Mapping[str, Any]) -> bool:
    """Whether every field that answering needs is there, and nothing that it cannot do."""
    rope = given.get("rope_parameters")
    return (
        (given.get("model_type"), given.get("hidden_act")) == ("dvse", "silu")
        and isinstance(rope, dict)
        and rope.keys() == {"rope_type", "rope_theta", "partial_rotary_factor"}
        and rope["rope_type"] == "default"
        and not given.get("n_routed_experts")
        and given.keys() <= _WITHOUT_EFFECT | _READ | {one.name for one in fields(PlainConfig)}
        and all(type(given.get(name)) is int and given[name] > 0 for name in _WHOLE_NUMBERS)
        and all(type(given.get(name)) is bool for name in _SWITCHES)
        and all(type(given.get(name, False)) is bool for name in _LATER_SWITCHES)
        and type(given.get("rms_norm_eps")) is float
        and isinstance(given.get("dtype"), str)
        and given["num_attention_heads"] % given["num_key_value_heads"] == 0
        and {"gate_thresholds", "bundle_fingerprint"} <= given.keys()
        and _are_thresholds(given["gate_thresholds"], given["num_hidden_layers"])
    )


def _are_thresholds(value: Any, num_layers: int) -> bool:
    return value is None or (isinstance(value, list) and len(value) == num_layers)
