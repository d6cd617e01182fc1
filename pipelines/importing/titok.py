"""TiTok: a picture as a few tokens in one row.

Yu et al. 2024, "An Image is Worth 32 Tokens for Reconstruction and Generation". `titok_decoder` has
its way back.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dvse.codebook import Codebook
from dvse.errors import WeightsFormatError
from dvse.image.latent_vit import LatentViT, LatentViTConfig
from dvse.image.published_geometry import CropGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer
from pipelines.importing.checkpoint import Checkpoint
from pipelines.importing.filling import filled, need, need_codes, refuse_unknown
from pipelines.importing.image_settings import ImageSettings
from pipelines.importing.titok_decoder import titok_decoder

PUBLISHED = ImageSettings(resample="bicubic", mean=(0.0,) * 3, std=(1.0,) * 3)
"""As its authors turn pictures into codes; the side is that of its positions."""

_LEFT_BEHIND = re.compile(r"decoder\.|pixel_|quantize\.embed_prob$")
_HEAD_WIDTH = 64
_NAMES = {
    "encoder.patch_embed.weight": "patch_embed.weight",
    "encoder.patch_embed.bias": "patch_embed.bias",
    "encoder.positional_embedding": "positions",
    "encoder.ln_pre.weight": "norm_before.weight",
    "encoder.ln_pre.bias": "norm_before.bias",
    "encoder.ln_post.weight": "norm_after.weight",
    "encoder.ln_post.bias": "norm_after.bias",
    "encoder.conv_out.bias": "project.bias",
}
_IN_BLOCK = {
    "ln_1.": "norm1.",
    "ln_2.": "norm2.",
    "attn.in_proj_": "attn.qkv.",
    "attn.out_proj.": "attn.proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}


def is_titok(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a TiTok tokenizer."""
    return "latent_tokens" in tensors and "encoder.latent_token_positional_embedding" in tensors


def titok_tokenizer(
    where: str, checkpoint: Checkpoint, settings: ImageSettings, config: Mapping[str, Any]
) -> ImageTokenizer:
    """Return the tokenizer.

    Args:
        config: of the model's `config.json`, empty where there is none.

    Raises:
        WeightsFormatError: tensors that are missing, unknown, or do not fit together; a model
            without a codebook (`vae`).
        ConfigError: what the files leave open.
    """
    settings.refuse(where, "min_pixels", "max_pixels")
    kept = {n: t for n, t in checkpoint.tensors.items() if not _LEFT_BEHIND.match(n)}
    patches = need(where, kept, "encoder.patch_embed.weight")
    positions = need(where, kept, "encoder.positional_embedding")
    side = round((len(positions) - 1) ** 0.5) * patches.shape[-1]
    said = settings.over(_recorded(config, side).over(PUBLISHED))
    said.need(where, "metric")
    if said.size != side:
        raise WeightsFormatError(f"{where}: its positions are those of {side} pixels; leave --size")
    shape = _shape(where, checkpoint.tensors, kept, said)
    encoder = LatentViT(shape)
    filled(encoder, _renamed(where, kept), where)
    book = need_codes(where, kept, "quantize.embedding.weight", shape.dim)
    assert said.resize and said.size and said.resample
    return ImageTokenizer(
        encoder=encoder,
        quantizer=CodebookQuantizer(Codebook(book[None], metric=said.metric)),  # type: ignore[arg-type]
        decoder=titok_decoder(
            where,
            checkpoint.tensors,
            image_size=said.size,
            num_heads=said.num_heads,
            block_name=_block_name,
        ),
        geometry=CropGeometry(
            resize=said.resize,
            size=said.size,
            patch_size=shape.patch_size,
            resample=said.resample,
            num_latents=shape.num_latents,
        ),
    )


def _recorded(config: Mapping[str, Any], side: int) -> ImageSettings:
    """Return what the model's own configuration says."""
    inner: Any = config.get("config", config)
    for name in ("model", "vq_model"):
        inner = inner.get(name, {}) if isinstance(inner, Mapping) else {}
    is_cosine = inner.get("use_l2_norm") if isinstance(inner, Mapping) else None
    metric = None if is_cosine is None else "cosine" if is_cosine else "euclidean"
    return ImageSettings(resize=side, size=side, metric=metric)


def _shape(
    where: str, tensors: Mapping[str, Tensor], kept: Mapping[str, Tensor], said: ImageSettings
) -> LatentViTConfig:
    project = need(where, kept, "encoder.conv_out.weight")
    patches = kept["encoder.patch_embed.weight"]
    latents = need(where, kept, "latent_tokens")
    width = patches.shape[0]
    if said.num_heads is None and width % _HEAD_WIDTH:
        said.need(where, "num_heads")
    if "quantize.embedding.weight" not in kept:
        raise WeightsFormatError(f"{where}: it has no codebook; a TiTok of kind vae has no codes")
    # The first models came with a decoder that ends in an MLP over proxy codes; later ones end in
    # pixels and have the layout mended.
    legacy = "decoder.ffn.2.weight" in tensors
    if not legacy and "decoder.conv_out.weight" not in tensors:
        raise WeightsFormatError(
            f"{where}: its decoder is missing, which tells how features are laid out; give the "
            "whole file"
        )
    assert said.mean is not None and said.std is not None and said.size is not None
    return LatentViTConfig(
        image_size=said.size,
        patch_size=patches.shape[-1],
        num_latents=len(latents),
        width=width,
        depth=len({n.split(".")[2] for n in kept if n.startswith("encoder.transformer.")}),
        num_heads=said.num_heads or width // _HEAD_WIDTH,
        dim=project.shape[0],
        is_legacy=legacy,
        mean=said.mean,
        std=said.std,
    )


def _renamed(where: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's tensors under our names; all others must be the codebook."""
    added = need(where, tensors, "latent_tokens").float()
    positions = need(where, tensors, "encoder.latent_token_positional_embedding").float()
    found = {
        "latents": added + positions,
        "class_token": need(where, tensors, "encoder.class_embedding")[None],
        "project.weight": need(where, tensors, "encoder.conv_out.weight").flatten(1),
    }
    known = {
        "latent_tokens",
        "encoder.latent_token_positional_embedding",
        "encoder.class_embedding",
        "encoder.conv_out.weight",
        "quantize.embedding.weight",
    }
    for name, tensor in tensors.items():
        new = _NAMES.get(name) or _block_name(name.removeprefix("encoder."))
        if new is not None:
            found[new] = tensor
            known.add(name)
    refuse_unknown(where, tensors, known, "a TiTok tokenizer")
    return {name: torch.as_tensor(tensor) for name, tensor in found.items()}


def _block_name(name: str) -> str | None:
    match = re.fullmatch(r"transformer\.(\d+)\.(.+)", name)
    if match is None:
        return None
    number, inner = match.groups()
    for old, new in _IN_BLOCK.items():
        if inner.startswith(old):
            return f"blocks.{number}.{new}{inner[len(old) :]}"
    return None
