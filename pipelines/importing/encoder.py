"""A published speech encoder as a directory of transformers: `import_encoder`.

Shapes are read off the tensors; what tensors do not say (heads, whether norms come first, whether
the input is normalised) comes from the settings in the checkpoint, or has to be said.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvse.audio.preparer import check_rate
from dvse.audio.published_encoder import check_sizes, recorded_normalization, recorded_rate_hz
from dvse.errors import ConfigError, WeightsFormatError
from dvse.quiet_transformers import without_library_lines
from dvse.storage.file_hash import file_sha256
from pipelines.importing.checkpoint import Checkpoint
from pipelines.importing.fairseq2_layout import is_pre_norm
from pipelines.importing.model_folder import PublishedModel, read_model
from pipelines.importing.new_folder import new_folder
from pipelines.importing.speech_layouts import to_transformers

_POSITION_WEIGHT = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"
_WIDEST_OF_64 = 1024
_STRIDES = {10: 5, 3: 2, 2: 2}  # of every published encoder of the family, by kernel


@dataclass(frozen=True, kw_only=True)
class EncoderFacts:
    """What a checkpoint may leave open; what is `None` has to stand in it.

    Attributes:
        normalize: recordings are scaled to mean 0 and variance 1 first (HuBERT base: no; large,
            XLSR, LV-60: yes).
        pre_norm: norms come before attention and feed-forward (base: no; large, XLSR: yes).
        num_heads: attention heads; up to 1,024 channels 64 each where nothing else is said, as all
            published encoders of these widths have them.
    """

    normalize: bool | None = None
    pre_norm: bool | None = None
    num_heads: int | None = None

    def __post_init__(self) -> None:
        if self.num_heads is not None and self.num_heads < 1:
            raise ConfigError(f"expected num_heads of at least 1, received {self.num_heads}")


def import_encoder(
    source: Path,
    output: Path,
    *,
    facts: EncoderFacts | None = None,
    sample_rate_hz: int | None = None,
) -> Path:
    """Write `config.json`, `model.safetensors` and `preprocessor_config.json` into `output`.

    Args:
        source: a checkpoint file (`.pt`, `.bin`, safetensors) of fairseq, fairseq2, torchaudio,
            SpeechBrain or transformers, or a directory of transformers with either.
        output: a new or empty directory.
        sample_rate_hz: of the encoder; by default what its files say, else 16,000.

    Raises:
        WeightsFormatError: no such encoder, damaged, or tensors that do not fit together.
        UnsafeFileError: it would run code.
        ConfigError: something that decides features stands nowhere, the message says which option;
            or a rate or number of heads that no encoder has.
        TrainingError: the disk is full.
    """
    facts = facts or EncoderFacts()
    if sample_rate_hz is not None:
        check_rate(sample_rate_hz)
    published = read_model(source)
    checkpoint, config = published.checkpoint, None
    recorded_hz = _recorded(checkpoint, source, "sample_rate", int)
    if source.is_dir():
        config = _recorded_config(published)
        recorded_hz = recorded_rate_hz(str(source))
        if facts.normalize is None:
            facts = replace(facts, normalize=recorded_normalization(str(source)))
    tensors = to_transformers(checkpoint.tensors, where=str(source))
    facts = _settled(source, checkpoint, facts, config)
    if config is None:
        config = _config_of(source, tensors, checkpoint, facts)
    model = _filled(source, config, tensors)
    if (rate_hz := sample_rate_hz) is None:
        rate_hz = 16_000 if recorded_hz is None else recorded_hz
    check_rate(rate_hz)
    with new_folder(output, "the encoder") as folder:
        with without_library_lines():
            model.save_pretrained(folder, max_shard_size="100GB")
        preprocessor = {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "do_normalize": facts.normalize,
            "feature_size": 1,
            "padding_value": 0.0,
            "return_attention_mask": config["feat_extract_norm"] == "layer",
            "sampling_rate": rate_hz,
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
        weights_sha256 = file_sha256(folder / "model.safetensors")
        provenance = {**checkpoint.provenance, "weights_sha256": weights_sha256}
        (folder / "imported.json").write_text(json.dumps(provenance, indent=2) + "\n")
    return output


def _recorded_config(published: PublishedModel) -> dict[str, Any]:
    config = published.config
    if config.get("model_type") not in ("hubert", "wav2vec2", "wavlm"):
        raise WeightsFormatError(
            f"{published.where}: expected model_type hubert, wav2vec2 or wavlm, received "
            f"{config.get('model_type')!r}"
        )
    return {"feat_extract_norm": "group", **config}


def _settled(
    source: Path, checkpoint: Checkpoint, facts: EncoderFacts, config: Mapping[str, Any] | None
) -> EncoderFacts:
    """Fill in what the settings of the checkpoint say; refuse what stays open."""
    normalize = _first(facts.normalize, _recorded(checkpoint, source, "normalize", bool))
    first = _recorded(checkpoint, source, "layer_norm_first", bool)
    pre_norm = _first(facts.pre_norm, first, is_pre_norm(checkpoint.tensors))
    if pre_norm is None and config is not None:
        pre_norm = bool(config.get("do_stable_layer_norm", False))
    open_facts = [
        option
        for option, value in (
            ("--normalize yes|no (HuBERT base: no; large, XLSR, LV-60: yes)", normalize),
            ("--pre-norm yes|no (base: no; large, XLSR, LV-60: yes)", pre_norm),
        )
        if value is None
    ]
    if open_facts:
        raise ConfigError(
            f"{source}: the checkpoint does not say all that decides its features; say "
            f"{' and '.join(open_facts)}"
        )
    recorded_heads = _recorded(checkpoint, source, "encoder_attention_heads", int)
    heads = _first(facts.num_heads, recorded_heads)
    return EncoderFacts(normalize=bool(normalize), pre_norm=bool(pre_norm), num_heads=heads)


def _recorded(checkpoint: Checkpoint, source: Path, name: str, kind: type) -> Any:
    """Return a setting of the checkpoint, `None` where it has none."""
    said = checkpoint.settings.get(name)
    if said is not None and type(said) is not kind:
        raise WeightsFormatError(
            f"{source}: expected its setting {name} as {kind.__name__}, received {said!r}"
        )
    return said


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _config_of(
    source: Path, tensors: Mapping[str, Tensor], checkpoint: Checkpoint, facts: EncoderFacts
) -> dict[str, Any]:
    """Return the fields of transformers' configuration that the tensors show."""
    try:
        return _shown_by(source, tensors, checkpoint, facts)
    except (IndexError, ZeroDivisionError, TypeError) as error:
        raise WeightsFormatError(
            f"{source}: its tensors have shapes that no speech encoder has; is it whole?"
        ) from error


def _shown_by(
    source: Path, tensors: Mapping[str, Tensor], checkpoint: Checkpoint, facts: EncoderFacts
) -> dict[str, Any]:
    try:
        hidden = tensors["feature_projection.projection.weight"].shape[0]
        position = tensors[_POSITION_WEIGHT]
        dense = tensors["encoder.layers.0.feed_forward.intermediate_dense.weight"]
    except KeyError as error:
        raise WeightsFormatError(f"{source}: tensor {error} is missing") from error
    num_heads = facts.num_heads
    if num_heads is None and (hidden > _WIDEST_OF_64 or hidden % 64):
        raise ConfigError(
            f"{source}: the checkpoint does not say how many attention heads its {hidden} channels "
            "have; say --num-heads N (XLS-R of 1 and 2 billion parameters: 16)"
        )
    layers = {n.split(".")[2] for n in tensors if n.startswith("encoder.layers.")}
    convs = [
        tensors[f"feature_extractor.conv_layers.{i}.conv.weight"]
        for i in range(len(tensors))
        if f"feature_extractor.conv_layers.{i}.conv.weight" in tensors
    ]
    kernels = [conv.shape[2] for conv in convs]
    is_wavlm = any(name.endswith("rel_attn_embed.weight") for name in tensors)
    is_hubert = any("label_embs" in name for name in checkpoint.tensors)
    config = {
        "model_type": "wavlm" if is_wavlm else "hubert" if is_hubert else "wav2vec2",
        "hidden_size": hidden,
        "num_hidden_layers": len(layers),
        "num_attention_heads": num_heads or hidden // 64,
        "intermediate_size": dense.shape[0],
        "conv_dim": [conv.shape[0] for conv in convs],
        "conv_kernel": kernels,
        "conv_stride": _strides(source, kernels, checkpoint.settings),
        "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in tensors,
        "feat_extract_norm": "layer"
        if "feature_extractor.conv_layers.1.layer_norm.weight" in tensors
        else "group",
        "do_stable_layer_norm": facts.pre_norm,
        "num_conv_pos_embeddings": position.shape[2],
        "num_conv_pos_embedding_groups": hidden // position.shape[1],
    }
    if is_wavlm:
        table = next(t for n, t in tensors.items() if n.endswith("rel_attn_embed.weight"))
        config["num_buckets"] = table.shape[0]
        config["max_bucket_distance"] = checkpoint.settings.get("max_distance", 800)
    return config


def _strides(source: Path, kernels: list[int], settings: Mapping[str, Any]) -> list[int]:
    """Return the strides that the settings name, or those of the family's one published plan."""
    plan = settings.get("conv_feature_layers")
    if isinstance(plan, str):
        try:
            named = [tuple(layer) for layer in _evaluated(ast.parse(plan, mode="eval").body)]
            if [kernel for _, kernel, _ in named] == kernels:
                return [stride for _, _, stride in named]
        except (ValueError, SyntaxError, TypeError) as error:
            raise WeightsFormatError(
                f"{source}: expected conv_feature_layers as a list of (width, kernel, stride), "
                f"received {plan[:80]!r}"
            ) from error
    if kernels != [10, 3, 3, 3, 3, 2, 2]:
        raise WeightsFormatError(
            f"{source}: the strides of its convolutions stand nowhere, and kernels {kernels} are "
            "not those of the published encoders; give a directory with a config.json"
        )
    return [_STRIDES[kernel] for kernel in kernels]


def _evaluated(node: ast.expr) -> list[Any]:
    """Lists of number triples, joined by + and repeated by *; nothing else, and not much of it."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _evaluated(node.left) + _evaluated(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        times = ast.literal_eval(node.right)
        if not isinstance(times, int) or not 0 < times <= 64:
            raise ValueError(times)
        return _evaluated(node.left) * times
    return list(ast.literal_eval(node))


def _filled(source: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """Return transformers' model with the tensors in it, each in its place."""
    from transformers import AutoConfig, AutoModel

    fields = {name: value for name, value in config.items() if name != "model_type"}
    try:
        described = AutoConfig.for_model(config["model_type"], **fields)
        check_sizes(str(source), described)
        model = AutoModel.from_config(described)
    except WeightsFormatError:
        raise
    except Exception as error:  # transformers and torch refuse sizes in many ways
        raise WeightsFormatError(
            f"{source}: a configuration that no encoder can have; "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    wanted = set(model.state_dict())
    missing = wanted - set(tensors) - {"masked_spec_embed"}
    unknown = set(tensors) - wanted - {"masked_spec_embed"}
    if missing or unknown:
        raise WeightsFormatError(
            f"{source}: expected the tensors of {type(model).__name__}; missing "
            f"{sorted(missing)[:3] or 'none'}, unknown {sorted(unknown)[:3] or 'none'}"
        )
    for name, value in tensors.items():
        if name in wanted and not value.is_floating_point():
            raise WeightsFormatError(
                f"{source}: expected floating-point numbers in tensor {name!r}, received "
                f"{value.dtype}"
            )
    try:
        model.load_state_dict(dict(tensors), strict=False)
    except RuntimeError as error:
        raise WeightsFormatError(
            f"{source}: tensors of another shape; {' '.join(str(error).split())[:200]}"
        ) from error
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsFormatError(f"{source}: tensor {name!r} holds NaN or infinity")
    return model.float()
