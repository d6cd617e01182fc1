"""Parameter names of published Wav2Vec2, HuBERT and WavLM checkpoints, brought to transformers'.

Four layouts are told apart by their names: transformers' own (SpeechBrain puts `model.` before
it), torchaudio's, fairseq's (also Microsoft's WavLM) and fairseq2's. Heads, quantizers and decoders
that only pre-training or recognition needed are left behind; a name that no layout knows is
refused, so that nothing which belongs to the encoder can be lost without a word.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from dvse.errors import WeightsFormatError
from pipelines.importing.fairseq2_layout import of_fairseq2, without_prefix

# Of pre-training and recognition: no part of the features.
_LEFT_BEHIND = re.compile(
    r"(final_proj|label_embs_concat|quantizer|project_q|project_hid|lm_head|aux|mask_generator"
    r"|logit_generator|proj|input_quantizer|target_glu|layer_norm_for_extract)(\.|$)"
)
_IN_LAYER = {
    "self_attn.k_proj": "attention.k_proj",
    "self_attn.v_proj": "attention.v_proj",
    "self_attn.q_proj": "attention.q_proj",
    "self_attn.out_proj": "attention.out_proj",
    "self_attn_layer_norm": "layer_norm",
    "self_attn.grep_linear": "attention.gru_rel_pos_linear",
    "self_attn.relative_attention_bias": "attention.rel_attn_embed",
    "self_attn.grep_a": "attention.gru_rel_pos_const",
    "fc1": "feed_forward.intermediate_dense",
    "fc2": "feed_forward.output_dense",
    "final_layer_norm": "final_layer_norm",
}
_POSITION = "encoder.pos_conv_embed.conv"


def to_transformers(tensors: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Return the tensors of the encoder under the names that transformers gives them.

    Raises:
        WeightsFormatError: no speech encoder, or a tensor of it that has no place.
    """
    fairseq2 = without_prefix(tensors)
    plain = _without_prefix(tensors) if fairseq2 is None else fairseq2
    if fairseq2 is not None:
        rename = of_fairseq2
    elif "post_extract_proj.weight" in plain or any(".self_attn." in name for name in plain):
        rename = _of_fairseq
    elif any(name.startswith("encoder.transformer.") for name in plain):
        rename = _of_torchaudio
    elif "feature_projection.projection.weight" in plain:
        rename = _of_transformers
    else:
        raise WeightsFormatError(
            f"{where}: expected a Wav2Vec2, HuBERT or WavLM in the layout of fairseq, fairseq2, "
            f"torchaudio or transformers, received tensors such as {sorted(tensors)[:3]}"
        )
    found: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in plain.items():
        new = rename(name)
        if new is None:
            unknown.append(name)
        elif new:
            found[new] = tensor
    if unknown:
        raise WeightsFormatError(
            f"{where}: expected the tensors of a speech encoder, received {len(unknown)} that have "
            f"no place in one: {', '.join(sorted(unknown)[:4])}"
        )
    return _positions(found)


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's own tensors; a head that stands beside it under no prefix goes."""
    marker = "feature_extractor."
    prefixes = {name[: name.index(marker)] for name in tensors if marker in name}
    if len(prefixes) != 1:
        return dict(tensors)
    (prefix,) = prefixes
    return {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}


def _of_transformers(name: str) -> str | None:
    starts = ("feature_extractor.", "feature_projection.", "encoder.", "masked_spec_embed")
    if name.startswith(starts):
        return name
    return "" if _LEFT_BEHIND.match(name) else None


def _of_torchaudio(name: str) -> str | None:
    for old, new in (
        ("encoder.transformer.", "encoder."),
        ("encoder.feature_projection.", "feature_projection."),
    ):
        if name.startswith(old):
            return new + name[len(old) :]
    if name.startswith("feature_extractor."):
        return name
    if name.startswith("mask_generator.mask_embedding"):
        return "masked_spec_embed"
    return "" if _LEFT_BEHIND.match(name) else None


def _of_fairseq(name: str) -> str | None:
    if match := re.fullmatch(r"feature_extractor\.conv_layers\.(\d+)\.(.+)", name):
        number, rest = match.groups()
        place = {
            "0.weight": "conv.weight",
            "0.bias": "conv.bias",
            "2.weight": "layer_norm.weight",  # group norm, first layer alone
            "2.bias": "layer_norm.bias",
            "2.1.weight": "layer_norm.weight",  # layer norm, each layer
            "2.1.bias": "layer_norm.bias",
        }.get(rest)
        return None if place is None else f"feature_extractor.conv_layers.{number}.{place}"
    if match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+?)(\.weight|\.bias)?", name):
        number, inner, end = match.groups()
        place = _IN_LAYER.get(inner)
        return None if place is None else f"encoder.layers.{number}.{place}{end or ''}"
    for old, new in (
        ("post_extract_proj.", "feature_projection.projection."),
        ("layer_norm.", "feature_projection.layer_norm."),
        ("encoder.layer_norm.", "encoder.layer_norm."),
        ("encoder.pos_conv.0.", f"{_POSITION}."),
    ):
        if name.startswith(old):
            return new + name[len(old) :]
    if name == "mask_emb":
        return "masked_spec_embed"
    return "" if _LEFT_BEHIND.match(name) else None


def _positions(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight norm of the position convolution under torch's newer names."""
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        if (name := f"{_POSITION}.{old}") in tensors:
            tensors[f"{_POSITION}.parametrizations.weight.{new}"] = tensors.pop(name)
    return tensors
