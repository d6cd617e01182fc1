"""From what a user hands in to an opened Pillow picture, or one clear error.

Only formats on a list are opened: Pillow's others need outside programs (EPS starts Ghostscript)
or have no signature of their own. Opening reads the header; size limits are checked before any
pixel is decoded.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)
from PIL import Image as PilImage

from dvse.errors import (
    DecodeError,
    ItemTypeError,
    TooLargeError,
)
from dvse.media_file import open_media_file, printable

# Importing a plugin is what makes Pillow able to open its format; they are tried in this order.
FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        AvifImagePlugin.AvifImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        Jpeg2KImagePlugin.Jpeg2KImageFile,
        PpmImagePlugin.PpmImageFile,
    )
)


@contextmanager
def opened(source: Any) -> Iterator[PilImage.Image]:
    """Yield the Pillow picture of a path, the bytes of a file, an array or a Pillow picture.

    Raises:
        MissingFileError, UnreadableFileError: the path cannot be read.
        DecodeError: empty, or none of `FORMATS`.
        TooLargeError: more pixels than Pillow itself opens.
        ItemTypeError: another kind of object, or an array of another shape, dtype or range.
    """
    if isinstance(source, PilImage.Image):
        yield source
    elif isinstance(source, np.ndarray):
        yield _from_array(source)
    elif isinstance(source, bytes | bytearray | memoryview):
        with io.BytesIO(source) as file, _open(file, "these bytes") as picture:
            yield picture
    elif isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        opened_file = open_media_file(path, expected="a picture file")
        with opened_file, _open(opened_file, printable(path)) as picture:
            yield picture
    else:
        raise ItemTypeError(
            "dvse.Image takes a path, the bytes of a file, a Pillow picture or a NumPy array, "
            f"received {type(source).__name__}; convert it first"
        )


def describe(source: Any) -> str:
    """Return the name by which messages call a source."""
    if isinstance(source, str | os.PathLike):
        return printable(os.fspath(source))
    return "this picture"


def reason(error: Exception) -> str:
    """Return what an exception of Pillow says, on one line of at most 200 characters."""
    return printable(" ".join(str(error).split())[:200]) or type(error).__name__


def _open(file: Any, name: str) -> PilImage.Image:
    start = file.read(16)
    if not start:
        raise DecodeError(f"{name}: expected a picture, received zero bytes")
    file.seek(0)
    try:
        return PilImage.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise DecodeError(
            f"{name}: expected a picture ({', '.join(FORMATS)}), received bytes that start with "
            f"{start!r}"
        ) from error
    except PilImage.DecompressionBombError as error:
        raise TooLargeError(f"{name}: more pixels than Pillow opens; {error}") from error
    except Exception as error:  # a damaged header: Pillow raises many kinds
        raise DecodeError(f"{name}: damaged picture header; {reason(error)}") from error


def _from_array(array: np.ndarray) -> PilImage.Image:
    shape = "x".join(map(str, array.shape))
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ItemTypeError(
            f"expected an array [H, W], [H, W, 3] or [H, W, 4], received {shape}; "
            "channels come last"
        )
    if not array.size:
        raise DecodeError(f"expected at least one pixel, received an array of {shape}")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise DecodeError("expected finite pixel values, received NaN or infinity")
        if array.min() < 0 or array.max() > 1:
            raise DecodeError(
                "expected float pixels in 0..1, received "
                f"{array.min():.6g}..{array.max():.6g}; scale them, or pass uint8"
            )
        array = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ItemTypeError(f"expected uint8 pixels or float in 0..1, received {array.dtype}")
    return PilImage.fromarray(np.ascontiguousarray(array))
