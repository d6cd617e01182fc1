"""Parameter names of fairseq2's Wav2Vec2 (seamless_communication's XLS-R) to transformers'.

A front end holds the convolutions, the norm and projection behind them and the positions; what
stands there and where the last norm is says whether norms come first. Masks, quantizer and targets
of pre-training are left behind.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

_FRONT = "encoder_frontend."
_PLACES = (
    (r"feature_extractor\.layers\.(\d+)\.conv\.", r"feature_extractor.conv_layers.\1.conv."),
    (
        r"feature_extractor\.layers\.(\d+)\.(?:group|layer)_norm\.",
        r"feature_extractor.conv_layers.\1.layer_norm.",
    ),
    (r"post_extract_layer_norm\.", "feature_projection.layer_norm."),
    (r"model_dim_proj\.", "feature_projection.projection."),
    (r"pos_encoder\.conv\.", "encoder.pos_conv_embed.conv."),
    (r"layer_norm\.", "encoder.layer_norm."),  # norms come last: one before the first layer
)
_IN_LAYER = {
    "self_attn.q_proj": "attention.q_proj",
    "self_attn.k_proj": "attention.k_proj",
    "self_attn.v_proj": "attention.v_proj",
    "self_attn.output_proj": "attention.out_proj",
    "self_attn_layer_norm": "layer_norm",
    "ffn.inner_proj": "feed_forward.intermediate_dense",
    "ffn.output_proj": "feed_forward.output_dense",
    "ffn_layer_norm": "final_layer_norm",
}
_LEFT_BEHIND = ("masker.", "quantizer.", "final_proj.", "final_target_proj.")


def without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the tensors of a model of fairseq2 under its own names, `None` where it is none.

    >>> without_prefix({"module.encoder_frontend.model_dim_proj.bias": 1, "final_proj.bias": 2})
    {'encoder_frontend.model_dim_proj.bias': 1}
    """
    prefix = fairseq2_prefix(tensors)
    if prefix is None:
        return None
    return {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}


def fairseq2_prefix(names: Iterable[str]) -> str | None:
    """Return what stands before the names of a model of fairseq2, `None` where it is none."""
    return next((name[: name.index(_FRONT)] for name in names if _FRONT in name), None)


def of_fairseq2(name: str) -> str | None:
    """Return the name in transformers, empty for what is left behind, `None` if it has no place.

    >>> of_fairseq2("encoder_frontend.feature_extractor.layers.0.group_norm.bias")
    'feature_extractor.conv_layers.0.layer_norm.bias'
    >>> of_fairseq2("encoder.layers.3.ffn.inner_proj.weight")
    'encoder.layers.3.feed_forward.intermediate_dense.weight'
    """
    if name.startswith(_FRONT):
        inner = name.removeprefix(_FRONT)
        for old, new in _PLACES:
            if match := re.match(old, inner):
                return match.expand(new) + inner[match.end() :]
        return None
    if match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name):
        number, inner, end = match.groups()
        place = _IN_LAYER.get(inner)
        return None if place is None else f"encoder.layers.{number}.{place}.{end}"
    if name.startswith("encoder.layer_norm."):
        return name
    return "" if name.startswith(_LEFT_BEHIND) else None


def is_pre_norm(names: Iterable[str]) -> bool | None:
    """Return whether norms come first, as the last norm's place says; `None` of other layouts."""
    found = list(names)
    prefix = fairseq2_prefix(found)
    return None if prefix is None else f"{prefix}encoder.layer_norm.weight" in found
