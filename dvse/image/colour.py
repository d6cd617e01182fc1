"""Any mode that Pillow decodes to, brought to one that can be resized, and then to sRGB on white.

Two steps, because the middle one (resizing) is cheaper before colours are converted and must see
alpha. 16-bit samples keep their high byte, as Pillow does for colour; transparent pixels show
white, the paper most pictures are drawn for. A damaged or mismatched ICC profile is ignored, as
browsers do.
"""

import io

import numpy as np
from PIL import Image as PilImage
from PIL import ImageCms

from dvse.errors import DecodeError

_PLAIN = {"L", "RGB", "CMYK", "RGBA"}


def resizable(picture: PilImage.Image) -> PilImage.Image:
    """Return the picture in mode L, RGB, RGBA or CMYK: no palette, no more than 8 bits.

    Raises:
        DecodeError: samples of 32 bits outside 0 … 65,535, or float ones outside 0 … 1.
    """
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        return _eight_bits(picture)
    if "transparency" in picture.info or picture.mode in ("LA", "PA", "La", "RGBa"):
        return picture.convert("RGBA")
    if picture.mode in _PLAIN:
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def srgb_on_white(picture: PilImage.Image, icc_profile: bytes | None) -> PilImage.Image:
    """Return a picture that `resizable` made, as RGB in the sRGB colour space."""
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    if icc_profile:
        opaque = picture.convert("RGB") if alpha is not None else picture
        picture = _to_srgb(opaque, icc_profile)
    colours = picture if picture.mode == "RGB" else picture.convert("RGB")
    if alpha is None:
        return colours
    paper = PilImage.new("RGB", picture.size, (255, 255, 255))
    paper.paste(colours, mask=alpha)
    return paper


def _eight_bits(picture: PilImage.Image) -> PilImage.Image:
    # convert("L") would clip at 255 and turn most 16-bit pictures white.
    samples = np.asarray(picture)
    if picture.mode == "F":
        if not np.isfinite(samples).all() or samples.min() < 0 or samples.max() > 1:
            raise DecodeError("expected float samples in 0..1; convert the picture first")
        return PilImage.fromarray(np.rint(samples.astype(np.float64) * 255).astype(np.uint8))
    if samples.min() < 0 or samples.max() > 65535:
        raise DecodeError(
            f"expected grey samples in 0..65535, received {samples.min()}..{samples.max()}; "
            "convert the picture to 16 bits first"
        )
    return PilImage.fromarray((samples.astype(np.int32) >> 8).astype(np.uint8))


def _to_srgb(picture: PilImage.Image, icc_profile: bytes) -> PilImage.Image:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        if (profile.profile.profile_description or "").lower().startswith("srgb"):
            return picture
        converted = ImageCms.profileToProfile(
            picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return picture
    assert converted is not None
    return converted
