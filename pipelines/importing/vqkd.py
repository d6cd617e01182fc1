"""BEiT v2's VQ-KD tokenizer: a ViT, an MLP, and codes compared by angle.

Peng et al. 2022, "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers". Its way
back leads to features of its teacher, not to pixels, so only the way in is taken.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dvse.codebook import Codebook
from dvse.errors import WeightsFormatError
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.published_geometry import CropGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tanh_mlp import TanhMlp
from dvse.image.tokenizer import ImageTokenizer
from pipelines.importing.checkpoint import Checkpoint
from pipelines.importing.filling import filled, need, need_codes, refuse_unknown
from pipelines.importing.image_settings import ImageSettings

PUBLISHED = ImageSettings(
    resize=256, size=224, resample="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, metric="cosine"
)
"""As its authors turn pictures into codes; weights hold nothing of it."""

_LEFT_BEHIND = re.compile(
    r"loss|teacher|scaling|decoder\.|decode_task_layer\.|quantize\.cluster_size$"
    r"|quantize\.embedding\.(initted|cluster_size|embed_avg)$|.*relative_position_index$"
)
_HEAD_WIDTH = 64


def is_vqkd(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a VQ-KD tokenizer."""
    return "encode_task_layer.0.weight" in tensors and "quantize.embedding.weight" in tensors


def vqkd_tokenizer(where: str, checkpoint: Checkpoint, settings: ImageSettings) -> ImageTokenizer:
    """Return the tokenizer.

    Raises:
        WeightsFormatError: tensors that are missing, unknown, or do not fit together.
        ConfigError: a setting outside its range.
    """
    settings.refuse(where, "min_pixels", "max_pixels")
    said = settings.over(PUBLISHED)
    kept = {n: t for n, t in checkpoint.tensors.items() if not _LEFT_BEHIND.match(n)}
    backbone = {_backbone_name(n): t for n, t in kept.items() if n.startswith("encoder.")}
    options = _options(where, backbone, said)
    mean, std = said.mean, said.std
    assert mean is not None and std is not None and said.resize and said.size and said.resample
    config = EncoderConfig(name="beit_base_patch16_224", options=options, mean=mean, std=std)
    encoder = ImageEncoder(config)
    filled(encoder.backbone, backbone, where)
    mlp = _mlp(where, kept)
    known = {*(n for n in kept if n.startswith("encoder.")), *_MLP, "quantize.embedding.weight"}
    refuse_unknown(where, kept, known, "a VQ-KD tokenizer")
    book = need_codes(where, kept, "quantize.embedding.weight", mlp.out_features)
    return ImageTokenizer(
        encoder=encoder,
        quantizer=CodebookQuantizer(
            Codebook(book[None], metric=said.metric),  # type: ignore[arg-type]
            project_in=mlp,
        ),
        geometry=CropGeometry(
            resize=said.resize,
            size=said.size,
            patch_size=options["patch_size"],
            resample=said.resample,
        ),
    )


_MLP = tuple(f"encode_task_layer.{i}.{end}" for i in (0, 2) for end in ("weight", "bias"))


def _backbone_name(name: str) -> str:
    # Its norm over patch tokens is what a plain ViT calls its last norm.
    return name.removeprefix("encoder.").replace("fc_norm.", "norm.")


def _options(where: str, tensors: Mapping[str, Tensor], settings: ImageSettings) -> dict[str, Any]:
    """Read the shape of the ViT off its tensors."""
    patches = need(where, tensors, "patch_embed.proj.weight")
    inner = need(where, tensors, "blocks.0.mlp.fc1.weight")
    positions = tensors.get("pos_embed")
    width, patch_size = patches.shape[0], patches.shape[-1]
    if settings.num_heads is None and width % _HEAD_WIDTH:
        settings.need(where, "num_heads")
    size = settings.size or 0
    if positions is not None and positions.shape[1] != (size // patch_size) ** 2 + 1:
        side = round((positions.shape[1] - 1) ** 0.5) * patch_size
        raise WeightsFormatError(
            f"{where}: its positions are those of pictures of {side} pixels, and pictures are "
            f"brought to {size}; say --size {side} and a --resize that fits it"
        )
    return {
        "img_size": size,
        "patch_size": patch_size,
        "embed_dim": width,
        "depth": len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
        "num_heads": settings.num_heads or width // _HEAD_WIDTH,
        "mlp_ratio": inner.shape[0] / width,
        "use_abs_pos_emb": positions is not None,
        "use_rel_pos_bias": "blocks.0.attn.relative_position_bias_table" in tensors,
        "use_shared_rel_pos_bias": "rel_pos_bias.relative_position_bias_table" in tensors,
        "init_values": 0.1 if "blocks.0.gamma_1" in tensors else 0.0,  # weights overwrite it
        "global_pool": "token",
        "num_classes": 0,
    }


def _mlp(where: str, tensors: Mapping[str, Tensor]) -> TanhMlp:
    first = need(where, tensors, "encode_task_layer.0.weight")
    second = need(where, tensors, "encode_task_layer.2.weight")
    names = {"0.": "first.", "2.": "second."}
    renamed = {
        names[name.removeprefix("encode_task_layer.")[:2]]
        + name.removeprefix("encode_task_layer.")[2:]: tensors[name]
        for name in _MLP
        if name in tensors
    }
    mlp = TanhMlp(first.shape[1], first.shape[0], second.shape[0])
    filled(mlp, renamed, where)
    return mlp
