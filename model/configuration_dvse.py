"""The decoder's configuration: GLM's fields, then the token gate's and the experts'.

Field names are GLM's and GLM-4.5's own, so that a `config.json` reads as people expect. Checked on
creation; an unknown key is an error here, where transformers would store it silently. Knows
nothing of weights.
"""

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import GenerationConfig, GlmConfig

from .errors import ModelConfigError
from .glm_config import translate_config

_GLM_PAD_TOKEN_ID = 151329
_GLM_NUM_HEADS, _GLM_HEAD_DIM = 32, 128
_MOST_LAYERS = 10_000

# Keys that transformers, its older versions and its tools write into a config.json, or pass to a
# constructor, without declaring them as fields.
_TRANSFORMERS_KEYS = frozenset(
    {
        "adapter_config",
        "add_cross_attention",
        "attn_implementation",
        "auto_map",
        "batch_norm_eps",
        "compression_config",
        "cross_attention_hidden_size",
        "custom_pipelines",
        "distributed_config",
        "experts_implementation",
        "finetuning_task",
        "ignore_keys_at_rope_validation",
        "is_decoder",
        "layer_norm_eps",
        "layer_norm_epsilon",
        "layer_types",
        "model_type",
        "name_or_path",
        "norm_eps",
        "norm_epsilon",
        "num_labels",
        "output_attentions",
        "partial_rotary_factor",
        "peft_config",
        "per_layer_config",
        "post_norm_eps",
        "prefix",
        "pruned_heads",
        "quantization_config",
        "rope_scaling",
        "rope_theta",
        "task_specific_params",
        "tf_legacy_loss",
        "tie_encoder_decoder",
        "tie_last_hidden_states",
        "tokenizer_class",
        "torch_dtype",
        "torchscript",
        "transformers_weights",
        "use_bfloat16",
    }
)

_ATTENTION_PLAN = {
    "layers.*.self_attn.q_proj": "colwise",
    "layers.*.self_attn.k_proj": "colwise",
    "layers.*.self_attn.v_proj": "colwise",
    "layers.*.self_attn.o_proj": "rowwise",
}
_DENSE_PLAN = {
    "layers.*.mlp.gate_up_proj": "packed_colwise",
    "layers.*.mlp.down_proj": "rowwise",
}
_EXPERTS_PLAN = {
    "layers.*.mlp.experts.gate_up_proj": "packed_colwise",
    "layers.*.mlp.experts.down_proj": "rowwise",
    "layers.*.mlp.experts": "moe_tp_experts",
}
_EXPERT_PARALLEL_PLAN = {
    "layers.*.mlp.experts.gate_up_proj": "grouped_gemm",
    "layers.*.mlp.experts.down_proj": "grouped_gemm",
    "layers.*.mlp.experts": "ep_dispatch_experts",
}
_SHARED_EXPERTS_PLAN = {
    "layers.*.mlp.shared_experts.gate_proj": "colwise",
    "layers.*.mlp.shared_experts.up_proj": "colwise",
    "layers.*.mlp.shared_experts.down_proj": "rowwise",
}


@strict
class DvseConfig(GlmConfig):
    """Shape and options of a DVSE decoder; the defaults are those of GLM-4-9B.

    GLM's fields keep their meaning (`hidden_size`, `intermediate_size`, `num_hidden_layers`,
    `num_attention_heads`, `num_key_value_heads`, `head_dim`, `max_position_embeddings`, …).
    `num_key_value_heads` may be any divisor of `num_attention_heads`: 1 is multi-query attention,
    `None` or the same number is multi-head attention. `head_dim=None` is
    `hidden_size / num_attention_heads` (GLM's own 128 where GLM's 32 heads do not divide it).
    GLM's special ids (`pad_token_id`, `eos_token_id`) are only taken where the vocabulary reaches
    that far.

    `use_qk_norm` (GLM-4.5) norms queries and keys, head by head; `use_sandwich_norm` (GLM-4-0414)
    norms what attention and FFN give, too.

    The token gate:

    - `use_token_gate`: each layer has a gate that decides per token whether its FFN runs.
    - `gate_thresholds`: one number a layer, in logits; a token passes where its gate's logit is at
      least that much. `None` stands for 0 everywhere, a probability of one half.
    - `gate_bias_init`: the bias of a fresh gate, in logits: positive, so it is open.
    - `gate_target_share`: share of open gates that training aims for, 0 to 1.
    - `gate_loss_coef`: weight of that budget in the training loss.
    - `output_gate_logits`: return every gate's logits.

    The experts (GLM-4.5's names): `n_routed_experts` (`None` is a dense model),
    `num_experts_per_tok`, `n_shared_experts`, `moe_intermediate_size`, `first_k_dense_replace`
    (the first layers that stay dense), `n_group`, `topk_group`, `norm_topk_prob`,
    `routed_scaling_factor`, `router_aux_loss_coef` (weight of the load-balance loss),
    `output_router_logits`.

    `bundle_fingerprint` names the tokenizer bundle whose ids the decoder was trained on; this
    package only keeps the string.

    Raises:
        ModelConfigError: an unknown key, or a value outside its range.

    Example:
        >>> config = DvseConfig(vocab_size=64, hidden_size=32, intermediate_size=64,
        ...                     num_hidden_layers=2, num_attention_heads=4)
        >>> config.head_dim, config.num_key_value_groups, config.pad_token_id
        (8, 2, None)
        >>> DvseConfig(num_attention_heads=32, num_key_value_heads=5)
        Traceback (most recent call last):
            ...
        model.errors.ModelConfigError: num_key_value_heads must divide num_attention_heads (32), \
got 5: choose one of 1, 2, 4, 8, 16, 32.
        >>> DvseConfig(hiden_size=64)
        Traceback (most recent call last):
            ...
        model.errors.ModelConfigError: unknown key 'hiden_size' in a DvseConfig: did you mean \
'hidden_size'? Remove the key or correct its name.
    """

    model_type = "dvse"
    keys_to_ignore_at_inference = ["past_key_values", "router_logits", "gate_logits"]  # noqa: RUF012
    attribute_map: ClassVar = {"num_local_experts": "n_routed_experts"}

    # Integers once created; None is settled before anybody reads it.
    num_key_value_heads: Any = 2
    head_dim: Any = None
    pad_token_id: int | None = None

    use_qk_norm: bool = False
    use_sandwich_norm: bool = False

    use_token_gate: bool = False
    gate_thresholds: list[float | int] | None = None
    gate_bias_init: float | int = 4.0
    gate_target_share: float | int = 0.78
    gate_loss_coef: float | int = 1.0
    output_gate_logits: bool = False

    n_routed_experts: int | None = None
    num_experts_per_tok: int = 8
    n_shared_experts: int = 1
    moe_intermediate_size: int = 1408
    first_k_dense_replace: int = 1
    n_group: int = 1
    topk_group: int = 1
    norm_topk_prob: bool = True
    routed_scaling_factor: float | int = 1.0
    router_aux_loss_coef: float | int = 0.001
    output_router_logits: bool = False

    bundle_fingerprint: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        _refuse_unknown_keys(kwargs)
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        self._check_heads()
        super().__post_init__(**kwargs)
        self._settle_special_ids(kwargs)
        self._check_gate()
        self._check_experts()

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read a `config.json`; GLM-4's is translated, another architecture's refused."""
        config, rest = super().get_config_dict(*args, **kwargs)
        return translate_config(config), rest

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Create it of a `config.json`; a value of another kind is a `ModelConfigError`."""
        found = config_dict.get("quantization_config")
        if found is not None and not isinstance(found, Mapping) and not hasattr(found, "to_dict"):
            raise ModelConfigError(f"quantization_config must be an object, got {found!r}.")
        with _in_one_sentence():
            return super().from_dict(config_dict, **kwargs)

    @property
    def num_key_value_groups(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_attention_heads // (self.num_key_value_heads or self.num_attention_heads)

    @property
    def has_experts(self) -> bool:
        """Whether at least one layer routes tokens to experts."""
        return bool(self.n_routed_experts) and self.first_k_dense_replace < self.num_hidden_layers

    def is_expert_layer(self, layer_idx: int) -> bool:
        """Whether the FFN of layer `layer_idx` is a mixture of experts."""
        return bool(self.n_routed_experts) and layer_idx >= self.first_k_dense_replace

    def gate_threshold(self, layer_idx: int) -> float:
        """The logit from which on the gate of layer `layer_idx` is open."""
        return 0.0 if self.gate_thresholds is None else float(self.gate_thresholds[layer_idx])

    @property
    def base_model_tp_plan(self) -> dict[str, str]:  # type: ignore[override]
        """Tensor-parallel style of each part; the token gate is not named, so it is replicated."""
        plan = dict(_ATTENTION_PLAN)
        if not self.has_experts or self.first_k_dense_replace > 0:
            plan |= _DENSE_PLAN
        if self.has_experts:
            plan |= _EXPERTS_PLAN
            if self.n_shared_experts:
                plan |= _SHARED_EXPERTS_PLAN
        return plan

    @property
    def base_model_ep_plan(self) -> dict[str, str] | None:  # type: ignore[override]
        """Expert-parallel style: whole experts on each device; `None` without experts."""
        return dict(_EXPERT_PARALLEL_PLAN) if self.has_experts else None

    def _check_heads(self) -> None:
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads"):
            if getattr(self, name) < 1:
                raise ModelConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 1 <= self.num_hidden_layers <= _MOST_LAYERS:
            raise ModelConfigError(
                f"num_hidden_layers must lie between 1 and {_MOST_LAYERS}, got "
                f"{self.num_hidden_layers}."
            )
        heads, groups = self.num_attention_heads, self.num_key_value_heads
        if not isinstance(groups, int) or not isinstance(self.head_dim, int | None):
            raise ModelConfigError(
                f"num_key_value_heads and head_dim must be whole numbers, got {groups!r} and "
                f"{self.head_dim!r}."
            )
        if groups < 1 or heads % groups:
            divisors = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
            raise ModelConfigError(
                f"num_key_value_heads must divide num_attention_heads ({heads}), got {groups}: "
                f"choose one of {divisors}."
            )
        if self.head_dim is None:
            if self.hidden_size % heads and heads == _GLM_NUM_HEADS:
                self.head_dim = _GLM_HEAD_DIM
            elif self.hidden_size % heads:
                raise ModelConfigError(
                    f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                    f"({heads}) where head_dim is not given: change one of them or set head_dim."
                )
            else:
                self.head_dim = self.hidden_size // heads
        if self.head_dim < 1:
            raise ModelConfigError(f"head_dim must be at least 1, got {self.head_dim}.")

    def _settle_special_ids(self, given: dict[str, Any]) -> None:
        """Keep GLM's ids where they exist in this vocabulary, and refuse others that do not."""
        ends = self.eos_token_id if isinstance(self.eos_token_id, list) else [self.eos_token_id]
        ends = [i for i in ends if i is not None and i < self.vocab_size]
        self.eos_token_id = None if not ends else ends if len(ends) > 1 else ends[0]
        if self.pad_token_id is None and self.vocab_size > _GLM_PAD_TOKEN_ID:
            self.pad_token_id = _GLM_PAD_TOKEN_ID
        pad = self.pad_token_id
        if pad is not None and not -self.vocab_size <= pad < self.vocab_size:
            raise ModelConfigError(
                f"pad_token_id must be None or below vocab_size ({self.vocab_size}), got {pad}."
            )

    def _check_gate(self) -> None:
        thresholds = self.gate_thresholds
        if thresholds is not None and len(thresholds) != self.num_hidden_layers:
            raise ModelConfigError(
                f"gate_thresholds must hold one number for each of the {self.num_hidden_layers} "
                f"layers, got {len(thresholds)}."
            )
        if not 0 <= self.gate_target_share <= 1:
            raise ModelConfigError(
                f"gate_target_share must lie between 0 and 1, got {self.gate_target_share}."
            )

    def _check_experts(self) -> None:
        experts = self.n_routed_experts
        if not experts:
            return
        if not 1 <= self.num_experts_per_tok <= experts:
            raise ModelConfigError(
                f"num_experts_per_tok must lie between 1 and n_routed_experts ({experts}), "
                f"got {self.num_experts_per_tok}."
            )
        if experts % self.n_group or not 1 <= self.topk_group <= self.n_group:
            raise ModelConfigError(
                f"n_group ({self.n_group}) must divide n_routed_experts ({experts}) and topk_group "
                f"({self.topk_group}) must lie between 1 and n_group."
            )


def checked_config(given: Mapping[str, Any]) -> DvseConfig:
    """Return the configuration of these fields.

    Raises:
        ModelConfigError: as `DvseConfig`, or a value of another kind.
    """
    with _in_one_sentence():
        return DvseConfig(**given)


@contextmanager
def _in_one_sentence() -> Iterator[None]:
    """Tell a value of another kind, which transformers tells in several lines."""
    try:
        yield
    except StrictDataclassError as error:
        raise ModelConfigError(str(error).strip().splitlines()[-1].strip() + ".") from error


def _refuse_unknown_keys(given: dict[str, Any]) -> None:
    known = _TRANSFORMERS_KEYS | {field.name for field in fields(DvseConfig)}
    known |= GenerationConfig._get_default_generation_params().keys()
    for key in given:
        if key in known or key.startswith("_"):
            continue
        close = difflib.get_close_matches(key, sorted(known), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ModelConfigError(
            f"unknown key {key!r} in a DvseConfig: {hint}Remove the key or correct its name."
        )
