"""A picture encoder as JSON: its kind and its config, and back.

The first kind, a ViT of timm, is written without a `kind`, as it was before there were others.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import nn

from dvse.errors import BundleFormatError
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.encoder_contract import PictureEncoder
from dvse.image.latent_decoder import LatentDecoder, LatentDecoderConfig
from dvse.image.latent_vit import LatentViT, LatentViTConfig
from dvse.image.pixel_decoder import DecoderConfig, PixelDecoder
from dvse.image.vq_models import VqConfig, VqDecoder, VqEncoder
from dvse.storage.spec_fields import read_fields, write_fields

_ENCODERS: Mapping[str, tuple[type, Callable[[Any], PictureEncoder]]] = {
    "latent_vit": (LatentViTConfig, LatentViT),
    "vq": (VqConfig, VqEncoder),
}
_DECODERS: Mapping[str, tuple[type, Callable[[Any], nn.Module]]] = {
    "latent_vit": (LatentDecoderConfig, LatentDecoder),
    "vq": (VqConfig, VqDecoder),
}
PictureDecoder: TypeAlias = PixelDecoder | LatentDecoder | VqDecoder
"""What turns code vectors back into pixels."""


def describe_encoder(encoder: PictureEncoder) -> dict[str, Any]:
    """Return the JSON form of an encoder, without weights."""
    if isinstance(encoder, ImageEncoder):
        return write_fields(encoder.config, omit=("stem_top", "context_widths"))
    return _described(_ENCODERS, encoder.config)


def describe_decoder(decoder: Any) -> dict[str, Any]:
    """Return the JSON form of a decoder, without weights."""
    if isinstance(decoder, PixelDecoder):
        return write_fields(decoder.config)
    return _described(_DECODERS, decoder.config)


def timm_config(description: Any) -> EncoderConfig | None:
    """Return the config of an encoder of timm's, `None` for another kind.

    Raises:
        BundleFormatError: a missing, unknown or ill-typed field.
    """
    if isinstance(description, Mapping) and "kind" in description:
        return None
    return read_fields(EncoderConfig, description, where="image encoder")


def make_encoder(description: Any) -> PictureEncoder:
    """Return an encoder, for weights that are read next, from what `describe_encoder` gave.

    Raises:
        BundleFormatError: another kind, or a missing, unknown or ill-typed field.
        ConfigError: a shape that cannot be.
    """
    config = timm_config(description)
    if config is not None:
        return ImageEncoder(config, is_frozen=True)
    return _made(_ENCODERS, description, "image encoder")


def make_decoder(description: Any) -> PictureDecoder:
    """Return a decoder, for weights that are read next, from what `describe_decoder` gave.

    Raises:
        BundleFormatError: another kind, or a missing, unknown or ill-typed field.
        ConfigError: a shape that cannot be.
    """
    if isinstance(description, Mapping) and "kind" in description:
        return _made(_DECODERS, description, "image decoder")
    return PixelDecoder(read_fields(DecoderConfig, description, where="image decoder"))


def _described(kinds: Mapping[str, Any], config: Any) -> dict[str, Any]:
    (kind,) = (name for name, (cls, _) in kinds.items() if isinstance(config, cls))
    return {"kind": kind, **write_fields(config)}


def _made(kinds: Mapping[str, Any], description: Mapping[str, Any], where: str) -> Any:
    kind = description["kind"]
    if not isinstance(kind, str) or kind not in kinds:
        raise BundleFormatError(
            f"{where}: expected a kind among {sorted(kinds)}, received {kind!r}"
        )
    config_class, make = kinds[kind]
    rest = {name: value for name, value in description.items() if name != "kind"}
    return make(read_fields(config_class, rest, where=where))
