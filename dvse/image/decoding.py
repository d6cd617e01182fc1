"""A picture file to `uint8 [H, W, 3]` of the size that the geometry asks for.

The order matters: size limits on the header, a JPEG scaled down while it is decoded (its own
block transform does that), EXIF rotation, one antialiased resize, colours to sRGB, alpha on
white. Of an animation the first frame is taken. Everything that can be wrong with a file ends as
an `InputError`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import ExifTags
from PIL import Image as PilImage

from dvse.errors import DecodeError, InputError, TooLargeError
from dvse.image.colour import resizable, srgb_on_white
from dvse.image.decode_limits import DecodeLimits
from dvse.image.formats import LOOSE_ALPHA
from dvse.image.opening import describe, opened, reason
from dvse.image.placement import Placement
from dvse.image.quiet_pillow import quiet_pillow
from dvse.native_lines import NativeLines, native_lines

# Pixels decoded per pixel kept, along a side: above it the cheap box filter goes first, and a
# JPEG is decoded at 1/2, 1/4 or 1/8.
_MAX_SHRINK = 3.0
_MAX_SCALE = 8
_FILTERS = {
    "bilinear": PilImage.Resampling.BILINEAR,
    "bicubic": PilImage.Resampling.BICUBIC,
    "lanczos": PilImage.Resampling.LANCZOS,
}
_TURNS = {
    2: PilImage.Transpose.FLIP_LEFT_RIGHT,
    3: PilImage.Transpose.ROTATE_180,
    4: PilImage.Transpose.FLIP_TOP_BOTTOM,
    5: PilImage.Transpose.TRANSPOSE,
    6: PilImage.Transpose.ROTATE_270,
    7: PilImage.Transpose.TRANSVERSE,
    8: PilImage.Transpose.ROTATE_90,
}


def decode_picture(
    source: Any,
    place: Callable[[int, int], Placement],
    limits: DecodeLimits,
    *,
    name: str | None = None,
) -> tuple[np.ndarray, Placement]:
    """Return the pixels `uint8 [H, W, 3]` (sRGB) and the placement that was used.

    Args:
        source: path, bytes, Pillow picture or array.
        place: from upright width and height to the size wanted, see `dvse.image.geometry`.
        limits: checked on the header.
        name: how messages call it, where it is no path.

    Raises:
        InputError: the source cannot be read, is damaged, or passes a limit.

    >>> from dvse.image.geometry import SquareGeometry
    >>> grey = np.full((10, 20), 128, np.uint8)
    >>> pixels, _ = decode_picture(grey, SquareGeometry(size=4, patch_size=4).place, DecodeLimits())
    >>> pixels.shape, int(pixels.mean())
    ((4, 4, 3), 128)
    """
    name = name or describe(source)
    lines = NativeLines()
    try:
        with native_lines(lines), quiet_pillow(), opened(source, name) as picture:
            _check_limits(picture, limits, name)
            return _decode(picture, place, limits, name, is_ours=picture is not source)
    except DecodeError as error:
        raise error if name in str(error) else DecodeError(f"{name}: {error}") from error
    except InputError:
        raise
    except MemoryError as error:
        raise TooLargeError(f"{name}: not enough memory to decode it") from error
    except Exception as error:  # plugins raise OSError, SyntaxError, struct.error and others
        raise DecodeError(
            f"{name}: damaged or truncated picture; {reason(error)}{lines}"
        ) from error


def _check_limits(picture: PilImage.Image, limits: DecodeLimits, name: str) -> None:
    width, height = picture.size
    if width < 1 or height < 1:
        raise DecodeError(f"{name}: expected at least one pixel, the header says {width}x{height}")
    # A baseline JPEG can be decoded at an eighth of its sides; what then is decoded counts.
    shrink = 1 if not _is_scalable(picture) or picture.info.get("progressive") else _MAX_SCALE
    if width * height > limits.max_pixels * shrink**2:
        raise TooLargeError(
            f"{name}: expected at most {limits.max_pixels:,} pixels, the header says "
            f"{width}x{height}; scale it down, or raise max_pixels"
        )
    if max(picture.size) > limits.max_side_ratio * min(picture.size):
        raise TooLargeError(
            f"{name}: expected sides of a ratio up to {limits.max_side_ratio:g}, "
            f"received {width}x{height}; cut it into pieces"
        )


def _is_scalable(picture: PilImage.Image) -> bool:
    return picture.format in ("JPEG", "MPO")


def _decode(
    picture: PilImage.Image,
    place: Callable[[int, int], Placement],
    limits: DecodeLimits,
    name: str,
    *,
    is_ours: bool,
) -> tuple[np.ndarray, Placement]:
    is_scalable = is_ours and _is_scalable(picture)
    if not is_scalable:
        picture.load()  # Pillow turns a TIFF upright here, and takes the tag away
    orientation = _orientation(picture)
    is_sideways = orientation >= 5
    width, height = picture.size[::-1] if is_sideways else picture.size
    placement = place(width, height)
    if is_scalable and not placement.is_exact:
        _decode_smaller(picture, placement, is_sideways=is_sideways)
    if is_scalable and picture.width * picture.height > limits.max_pixels:
        raise TooLargeError(
            f"{name}: expected at most {limits.max_pixels:,} pixels, received {width}x{height}"
            "; scale it down, or raise max_pixels"
        )
    icc_profile = picture.info.get("icc_profile")
    upright = resizable(_without_loose_alpha(picture) if is_ours else picture)
    if orientation in _TURNS:
        upright = upright.transpose(_TURNS[orientation])
    if upright.size != placement.size or placement.box != (0.0, 0.0, *upright.size):
        upright = _resized(upright, placement, width, height)
    if placement.crop is not None:
        upright = upright.crop(placement.crop)
    return np.asarray(srgb_on_white(upright, icc_profile)), placement


def _resized(
    upright: PilImage.Image, placement: Placement, width: int, height: int
) -> PilImage.Image:
    """Resize the box of a picture that was `width` x `height` before it was decoded smaller."""
    scale_x, scale_y = upright.width / width, upright.height / height
    left, upper, right, lower = placement.box
    box = (  # rounding must not carry it over the border
        left * scale_x,
        upper * scale_y,
        min(right * scale_x, upright.width),
        min(lower * scale_y, upright.height),
    )
    return upright.resize(
        placement.size,
        _FILTERS[placement.resample],
        box=box,
        reducing_gap=None if placement.is_exact else _MAX_SHRINK,
    )


def _without_loose_alpha(picture: PilImage.Image) -> PilImage.Image:
    """The picture as an opaque one where its writer left all of alpha at 0."""
    is_loose = picture.format in LOOSE_ALPHA and picture.mode == "RGBA"
    if is_loose and picture.getchannel("A").getextrema() == (0, 0):
        return picture.convert("RGB")
    return picture


def _orientation(picture: PilImage.Image) -> int:
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1
    return orientation if orientation in _TURNS else 1


def _decode_smaller(picture: PilImage.Image, placement: Placement, *, is_sideways: bool) -> None:
    """Ask the JPEG decoder for the smallest scale that still leaves `_MAX_SHRINK` to the resize."""
    left, upper, right, lower = placement.box
    size = picture.size[::-1] if is_sideways else picture.size
    wanted = (
        math.ceil(size[0] * placement.size[0] * _MAX_SHRINK / (right - left)),
        math.ceil(size[1] * placement.size[1] * _MAX_SHRINK / (lower - upper)),
    )
    picture.draft(None, wanted[::-1] if is_sideways else wanted)
