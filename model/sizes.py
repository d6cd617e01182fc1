"""How large a configuration is: parameters, bytes, arithmetic, and the context that fits a card.

Everything is counted on the meta device from the configuration alone, so that a model of nine
billion parameters takes a second and no memory. A multiplication with its addition is two FLOPs;
norms, activations and softmax are not counted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from .configuration_dvse import DvseConfig
from .errors import ModelConfigError

BYTES_PER_VALUE = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "int4": 0.5}
# Quantised products keep fp16 scales: one a row at 8 bits, one with a zero point for 128 at 4 bits.
_INT4_GROUP, _INT4_GROUP_BYTES, _INT8_ROW_BYTES = 128, 4, 2
GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class ParameterCounts:
    """Parameters by part; `head` is 0 where it is the embedding itself.

    Attributes:
        active: parameters that one token's forward pass uses (routed experts: the chosen ones; the
            embedding: one row).
    """

    embedding: int
    attention: int
    dense_ffn: int
    routed_experts: int
    shared_experts: int
    routers: int
    gates: int
    norms: int
    head: int
    active: int

    @property
    def total(self) -> int:
        """All parameters, each counted once."""
        parts = (self.embedding, self.attention, self.dense_ffn, self.routed_experts)
        rest = (self.shared_experts, self.routers, self.gates, self.norms, self.head)
        return sum(parts) + sum(rest)


def count_parameters(config: DvseConfig) -> ParameterCounts:
    """Count a model built from `config` on the meta device.

    Example:
        >>> from model import preset
        >>> round(count_parameters(preset("9b")).total / 1e9, 1)
        9.4
    """
    counts: dict[str, int] = {}
    for name, shape in _parameter_shapes(config.to_json_string()):
        part = _part_of(name)
        counts[part] = counts.get(part, 0) + torch.Size(shape).numel()
    total = sum(counts.values())
    routed = counts.get("routed_experts", 0)
    unused = 0
    if config.has_experts and config.n_routed_experts:
        unused = routed - routed * config.num_experts_per_tok // config.n_routed_experts
    rows = counts["embedding"] - config.hidden_size
    is_tied = "head" not in counts
    return ParameterCounts(
        **{part: counts.get(part, 0) for part in _PARTS},
        active=total - unused - (0 if is_tied else rows),
    )


def weight_bytes(config: DvseConfig, dtype: str) -> int:
    """Bytes of the weights in `fp32`, `fp16`, `int8` or `int4`.

    int8 and int4 quantise attention, FFN and experts, with fp16 scales (one a row, one with a zero
    point for each 128 weights); embedding, head, norms, routers and gates stay in fp16.
    """
    if dtype not in BYTES_PER_VALUE:
        raise ModelConfigError(f"dtype must be one of {', '.join(BYTES_PER_VALUE)}, got {dtype!r}.")
    total = 0.0
    for name, shape in _parameter_shapes(config.to_json_string()):
        size = torch.Size(shape).numel()
        is_product = len(shape) > 1 and _part_of(name) in _QUANTISED
        if not is_product or dtype in ("fp32", "fp16"):
            total += size * (4.0 if dtype == "fp32" else 2.0)
        elif dtype == "int8":
            total += size + size // shape[-1] * _INT8_ROW_BYTES
        else:
            total += size / 2 + -(-size // _INT4_GROUP) * _INT4_GROUP_BYTES
    return round(total)


def kv_bytes_per_token(config: DvseConfig, dtype: str = "fp16") -> int:
    """Bytes that one token's keys and values take in the cache, over all layers."""
    values = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return round(values * BYTES_PER_VALUE[dtype])


@dataclass(frozen=True, kw_only=True)
class ForwardFlops:
    """FLOPs of one forward pass, by part."""

    attention_projections: float
    attention_scores: float
    ffn: float
    gates: float
    head: float

    @property
    def total(self) -> float:
        """All parts."""
        products = self.attention_projections + self.attention_scores
        return products + self.ffn + self.gates + self.head


def forward_flops(
    config: DvseConfig,
    num_tokens: int = 1,
    *,
    num_past: int = 0,
    num_logits: int | None = None,
    open_share: float | Sequence[float] = 1.0,
) -> ForwardFlops:
    """FLOPs of a forward pass over `num_tokens` of one sequence.

    Args:
        config: the model.
        num_tokens: tokens in the pass: 1 is a decoding step.
        num_past: tokens already in the cache.
        num_logits: positions whose logits are computed; all by default.
        open_share: share of tokens whose gate is open, one number or one a layer. Ignored where
            the model has no gates.

    Example:
        >>> from model import preset
        >>> dense = forward_flops(preset("9b"), num_past=4096).total
        >>> gated = forward_flops(preset("9b", use_token_gate=True), num_past=4096, open_share=0.73)
        >>> round(1 - gated.total / dense, 2)
        0.18
    """
    hidden, layers = config.hidden_size, config.num_hidden_layers
    query = config.num_attention_heads * config.head_dim
    key = config.num_key_value_heads * config.head_dim
    shares = [1.0] * layers
    if config.use_token_gate:
        shares = [open_share] * layers if isinstance(open_share, float | int) else list(open_share)
    # Token i of the pass sees num_past + i + 1 positions.
    positions = num_tokens * num_past + num_tokens * (num_tokens + 1) / 2
    return ForwardFlops(
        attention_projections=2.0 * layers * num_tokens * hidden * 2 * (query + key),
        attention_scores=4.0 * layers * query * positions,
        ffn=num_tokens * sum(s * ffn_flops(config, i) for i, s in enumerate(shares)),
        gates=2.0 * layers * num_tokens * hidden if config.use_token_gate else 0.0,
        head=2.0 * hidden * config.vocab_size * (num_tokens if num_logits is None else num_logits),
    )


def ffn_flops(config: DvseConfig, layer_idx: int) -> float:
    """FLOPs of layer `layer_idx`'s FFN or experts for one token."""
    hidden = config.hidden_size
    if not config.is_expert_layer(layer_idx):
        return 6.0 * hidden * config.intermediate_size
    experts = config.num_experts_per_tok + config.n_shared_experts
    routed = config.n_routed_experts or 0
    return 6.0 * hidden * config.moe_intermediate_size * experts + 2.0 * hidden * routed


def tokens_that_fit(
    config: DvseConfig,
    *,
    num_cards: int,
    card_bytes: int = 24 * GIB,
    reserve_bytes: int = 3 * GIB // 2,
    weights: str = "fp16",
    cache: str = "fp16",
) -> int:
    """Tokens whose keys and values fit beside the weights on `num_cards` cards; 0 if none.

    Weights and cache are spread evenly over the cards, as tensor parallelism does (the embedding
    by its rows), with a copy of what it does not cut (norms, routers, gates) on each; each card
    keeps `reserve_bytes` for the runtime and activations.

    Example:
        >>> from model import preset
        >>> tokens_that_fit(preset("9b"), num_cards=1)
        130842
    """
    counts = count_parameters(config)
    copied = counts.norms + counts.routers + counts.gates
    room = num_cards * (card_bytes - reserve_bytes) - weight_bytes(config, weights)
    room -= round((num_cards - 1) * copied * (4.0 if weights == "fp32" else 2.0))
    return max(0, room // kv_bytes_per_token(config, cache))


_PARTS = (
    "embedding",
    "attention",
    "dense_ffn",
    "routed_experts",
    "shared_experts",
    "routers",
    "gates",
    "norms",
    "head",
)
_QUANTISED = ("attention", "dense_ffn", "routed_experts", "shared_experts")


def _part_of(name: str) -> str:
    for mark, part in (
        ("embed_tokens", "embedding"),
        ("lm_head", "head"),
        ("norm", "norms"),
        ("self_attn", "attention"),
        ("token_gate", "gates"),
        ("mlp.shared_experts", "shared_experts"),
        ("mlp.experts", "routed_experts"),
        ("mlp.gate.", "routers"),
        ("mlp.", "dense_ffn"),
    ):
        if mark in name:
            return part
    raise AssertionError(f"a parameter of no known part: {name}")


@lru_cache(maxsize=8)
def _parameter_shapes(config_json: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Names and shapes of a model's parameters, tied ones once."""
    from .modeling_dvse import DvseForCausalLM

    with torch.device("meta"):
        model = DvseForCausalLM(DvseConfig(**json.loads(config_json)))
    return tuple((name, tuple(p.shape)) for name, p in model.named_parameters())
