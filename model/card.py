"""A decoder's card: parameters by part, bytes, arithmetic, and what fits on which card.

Counted from the configuration alone, so that a model of nine billion parameters takes a second.
Knows numbers and words; `model.sizes` knows how to count.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.configuration_dvse import DvseConfig

_DTYPES = ("fp16", "int8", "int4")
_SEQUENCE = 8192
_PART_WORDS = {
    "embedding": "shared embedding",
    "attention": "attention",
    "dense_ffn": "dense FFN",
    "routed_experts": "routed experts",
    "shared_experts": "shared experts",
    "routers": "routers",
    "gates": "token gates",
    "norms": "norms",
    "head": "head",
}


@dataclass(frozen=True, kw_only=True)
class CardSettings:
    """What a card assumes.

    Attributes:
        context: tokens in the cache where FLOPs of a decoding step are given.
        saving: share of a decoding step's FLOPs that gates are to skip.
        card_gib: memory of one graphics card, in GiB.
        reserve_gib: of it, kept for the runtime and activations.
    """

    context: int = 4096
    saving: float = 0.18
    card_gib: float = 24.0
    reserve_gib: float = 1.5

    def __post_init__(self) -> None:
        from model.errors import ModelConfigError

        if self.context < 0 or not 0 <= self.saving < 1 or self.card_gib <= self.reserve_gib:
            raise ModelConfigError(
                f"expected a context of at least 0, a saving from 0 to below 1 and a card of more "
                f"than {self.reserve_gib:g} GiB, got {self.context}, {self.saving} and "
                f"{self.card_gib:g} GiB."
            )


def model_card(name_or_dir: str | Path, settings: CardSettings | None = None) -> str:
    """Describe the decoder called `name_or_dir`, a preset or a directory with a `config.json`.

    Raises:
        model.errors.ModelError: no such preset or directory, or a configuration that cannot be.

    Example:
        >>> print(model_card("9b").splitlines()[0])
        9b: 40 layers of width 4096, 32 query and 2 key/value heads of width 128
    """
    settings = settings or CardSettings()
    config = read_config(name_or_dir)
    sections = [
        _title(str(name_or_dir), config),
        _parameters(config),
        _bytes(config),
        _arithmetic(config, settings),
        _fit(config, settings),
    ]
    return "\n\n".join(sections)


def read_config(name_or_dir: str | Path) -> "DvseConfig":
    """Return the configuration of a preset or of a model directory.

    Raises:
        model.errors.CheckpointError: neither of the two.
    """
    from model.configuration_dvse import DvseConfig
    from model.errors import CheckpointError
    from model.presets import PRESET_NAMES, preset

    if str(name_or_dir) in PRESET_NAMES:
        return preset(str(name_or_dir))
    directory = Path(name_or_dir)
    if not (directory / "config.json").is_file():
        raise CheckpointError(
            f"expected a preset ({', '.join(PRESET_NAMES)}) or a directory with a config.json, "
            f"got {str(name_or_dir)!r}."
        )
    return DvseConfig.from_pretrained(directory)


def _title(name: str, config: "DvseConfig") -> str:
    experts = ""
    if config.has_experts:
        experts = (
            f", {config.num_experts_per_tok} of {config.n_routed_experts} experts of width "
            f"{config.moe_intermediate_size} and {config.n_shared_experts} shared"
        )
    return (
        f"{name}: {config.num_hidden_layers} layers of width {config.hidden_size}, "
        f"{config.num_attention_heads} query and {config.num_key_value_heads} key/value heads of "
        f"width {config.head_dim}\n"
        f"FFN {config.intermediate_size}{experts}; {config.vocab_size} ids, context "
        f"{config.max_position_embeddings}"
    )


def _parameters(config: "DvseConfig") -> str:
    from model.sizes import count_parameters

    counts = count_parameters(config)
    lines = ["parameters"]
    for part, words in _PART_WORDS.items():
        size = getattr(counts, part)
        if size:
            lines.append(f"  {words:18} {size:>15,}  {size / counts.total:6.1%}")
    if config.tie_word_embeddings:
        lines.append(f"  {'head':18} {'the embedding':>15}")
    lines.append(f"  {'total':18} {counts.total:>15,}")
    lines.append(f"  {'used for a token':18} {counts.active:>15,}")
    return "\n".join(lines)


def _bytes(config: "DvseConfig") -> str:
    from model.sizes import kv_bytes_per_token, weight_bytes

    lines = ["bytes of weights (int8, int4: products only, with scales; the rest fp16)"]
    for dtype in _DTYPES:
        size = weight_bytes(config, dtype)
        lines.append(f"  {dtype:18} {size:>15,}  {_rounded(size)}")
    lines.append("bytes of keys and values a token")
    for dtype in ("fp16", "int8"):
        lines.append(f"  {dtype:18} {kv_bytes_per_token(config, dtype):>15,}")
    return "\n".join(lines)


def _rounded(size: int) -> str:
    unit, words = (2**30, "GiB") if size >= 2**30 else (2**20, "MiB")
    return f"{size / unit:6.2f} {words}"


def _arithmetic(config: "DvseConfig", settings: CardSettings) -> str:
    from model.configuration_dvse import DvseConfig
    from model.sizes import forward_flops

    context = min(settings.context, config.max_position_embeddings)
    fields = config.to_dict()
    dense_config = DvseConfig(**{**fields, "use_token_gate": False})
    gated_config = DvseConfig(**{**fields, "use_token_gate": True})
    dense = forward_flops(dense_config, num_past=context)
    opened = forward_flops(gated_config, num_past=context).total
    ffn = dense.ffn
    share = max(0.0, 1 - (settings.saving * dense.total + opened - dense.total) / ffn)
    gated = forward_flops(gated_config, num_past=context, open_share=share).total
    return "\n".join(
        [
            f"GFLOPs a decoded token at context {context}",
            f"  {'without gates':18} {dense.total / 1e9:>15,.3f}  (FFN {ffn / dense.total:.0%}, "
            f"attention {(dense.attention_projections + dense.attention_scores) / dense.total:.0%}"
            f", head {dense.head / dense.total:.0%})",
            f"  {'with gates':18} {gated / 1e9:>15,.3f}  ({1 - gated / dense.total:.0%} less, with "
            f"{share:.0%} of the gates open)",
        ]
    )


def _fit(config: "DvseConfig", settings: CardSettings) -> str:
    lines = [
        f"longest context, and how many sequences of {_sequence(config):,} tokens at once, on "
        f"cards of {settings.card_gib:g} GiB",
        f"({settings.reserve_gib:g} GiB of each kept for the runtime and activations)",
        f"  {'weights, cache':18} {'one card':>24} {'two cards':>24}",
    ]
    for weights in _DTYPES:
        for cache in ("fp16", "int8"):
            cells = [_cell(config, settings, num, weights, cache) for num in (1, 2)]
            lines.append(f"  {f'{weights}, {cache}':18} {cells[0]:>24} {cells[1]:>24}")
    return "\n".join(lines)


def _cell(
    config: "DvseConfig", settings: CardSettings, num_cards: int, weights: str, cache: str
) -> str:
    from model.sizes import GIB, tokens_that_fit

    tokens = tokens_that_fit(
        config,
        num_cards=num_cards,
        card_bytes=int(settings.card_gib * GIB),
        reserve_bytes=int(settings.reserve_gib * GIB),
        weights=weights,
        cache=cache,
    )
    if tokens == 0:
        return "does not fit"
    longest = min(tokens, config.max_position_embeddings)
    return f"{longest:,} / {tokens // _sequence(config):,} at once"


def _sequence(config: "DvseConfig") -> int:
    return min(_SEQUENCE, config.max_position_embeddings)
