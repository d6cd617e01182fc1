"""TiTok's way back out of a checkpoint: its second ViT, and in first models MaskGIT's decoder."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict

from torch import Tensor

from dvse.image.latent_decoder import LatentDecoder, LatentDecoderConfig
from dvse.image.maskgit_decoder import MaskgitDecoderConfig
from pipelines.importing.filling import filled, need

_HEAD_WIDTH = 64
_NAMES = {
    "decoder.decoder_embed.weight": "embed.weight",
    "decoder.decoder_embed.bias": "embed.bias",
    "decoder.latent_token_positional_embedding": "positions",
    "decoder.ln_pre.weight": "norm_before.weight",
    "decoder.ln_pre.bias": "norm_before.bias",
    "decoder.ln_post.weight": "norm_after.weight",
    "decoder.ln_post.bias": "norm_after.bias",
}
_TO_PIXELS = {
    "decoder.ffn.0.weight": "patches.weight",
    "decoder.ffn.0.bias": "patches.bias",
    "decoder.conv_out.weight": "pixels.weight",
    "decoder.conv_out.bias": "pixels.bias",
}
_TO_CHANCES = {
    f"decoder.ffn.{number}.{end}": f"chances.{number}.{end}"
    for number in (0, 2)
    for end in ("weight", "bias")
}
_GIVEN = {"decoder.class_embedding", "decoder.positional_embedding", "decoder.mask_token"}


def titok_decoder(
    where: str,
    tensors: Mapping[str, Tensor],
    *,
    image_size: int,
    num_heads: int | None,
    block_name: Callable[[str], str | None],
) -> LatentDecoder | None:
    """Return the way back to pixels; `None` where a first model came without its VQGAN.

    Args:
        tensors: of the whole checkpoint.
        image_size: side of a picture.
        num_heads: of a width that 64 does not divide.
        block_name: turns the published name of a block's tensor, without its half, into ours.

    Raises:
        WeightsFormatError: tensors that are missing, unknown, or do not fit together.
    """
    is_legacy = "decoder.ffn.2.weight" in tensors
    if is_legacy and not any(name.startswith("pixel_decoder.") for name in tensors):
        return None
    embed = need(where, tensors, "decoder.decoder_embed.weight")
    positions = need(where, tensors, "decoder.positional_embedding").float()
    width, side = embed.shape[0], round((len(positions) - 1) ** 0.5)
    config = LatentDecoderConfig(
        image_size=image_size,
        patch_size=image_size // max(1, side),
        num_latents=len(need(where, tensors, "decoder.latent_token_positional_embedding")),
        width=width,
        depth=len({n.split(".")[2] for n in tensors if n.startswith("decoder.transformer.")}),
        num_heads=width // _HEAD_WIDTH if width % _HEAD_WIDTH == 0 else num_heads or 1,
        dim=embed.shape[1],
        maskgit=asdict(_maskgit(where, tensors)) if is_legacy else {},
    )
    decoder = LatentDecoder(config)
    mask = need(where, tensors, "decoder.mask_token").float().flatten()
    masks = mask.repeat(side**2 + 1, 1)
    masks[0] = need(where, tensors, "decoder.class_embedding").float().flatten()
    found = {"masks": masks + positions, **_renamed(tensors, block_name, is_legacy=is_legacy)}
    if is_legacy:
        codes = need(where, tensors, "pixel_quantize.embedding.weight")
        found["pixels.codes.weight"] = codes.T.contiguous()
    filled(decoder, found, where)
    return decoder


def _renamed(
    tensors: Mapping[str, Tensor], block_name: Callable[[str], str | None], *, is_legacy: bool
) -> dict[str, Tensor]:
    names = {**_NAMES, **(_TO_CHANCES if is_legacy else _TO_PIXELS)}
    found = {}
    for name, tensor in tensors.items():
        if name.startswith("pixel_decoder."):
            found[f"pixels.{name.removeprefix('pixel_decoder.')}"] = tensor
        elif name.startswith("decoder.") and name not in _GIVEN:
            new = names.get(name) or block_name(name.removeprefix("decoder.")) or name
            # Maps of single patches were published as convolutions of one pixel.
            is_map = new.startswith(("patches.weight", "chances."))
            found[new] = tensor.flatten(1) if is_map and tensor.ndim == 4 else tensor
    return found


def _maskgit(where: str, tensors: Mapping[str, Tensor]) -> MaskgitDecoderConfig:
    codes = need(where, tensors, "pixel_quantize.embedding.weight")
    levels = {m[1] for n in tensors if (m := re.match(r"pixel_decoder\.up\.(\d+)\.", n))}
    widths = [
        need(where, tensors, f"pixel_decoder.up.{number}.block.0.conv1.weight").shape[0]
        for number in range(len(levels))
    ]
    blocks = {m[1] for n in tensors if (m := re.match(r"pixel_decoder\.mid\.(\d+)\.", n))}
    return MaskgitDecoderConfig(
        num_codes=codes.shape[0],
        code_dim=codes.shape[1],
        widths=tuple(widths),
        num_blocks=len(blocks),
    )
