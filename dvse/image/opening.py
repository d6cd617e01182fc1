"""From what a user hands in to an opened Pillow picture, or one clear error.

Only formats on a list are opened: Pillow's others need outside programs (EPS starts Ghostscript)
or have no signature of their own. Opening reads the header; size limits are checked before any
pixel is decoded.
"""

import importlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from dvse.errors import DecodeError, ItemTypeError, MissingExtraError, TooLargeError
from dvse.image.formats import TABLE, Format, extra_of
from dvse.media_file import open_media_file, printable

for _known in TABLE:  # importing a plugin is what makes Pillow able to open its format
    if not _known.is_extra:
        importlib.import_module(f"PIL.{_known.plugin}")

FORMATS = tuple(known.name for known in TABLE if known.has_signature and not known.is_extra)
_PREFIX = 16


@contextmanager
def opened(source: Any, name: str = "") -> Iterator[PilImage.Image]:
    """Yield the Pillow picture of a path, the bytes of a file, an array or a Pillow picture.

    Args:
        source: what a user hands in.
        name: how messages call it; its ending tells formats that have no signature.

    Raises:
        MissingFileError, UnreadableFileError: the path cannot be read.
        DecodeError: empty, or none of `FORMATS`.
        TooLargeError: more pixels than Pillow itself opens.
        ItemTypeError: another kind of object, or an array of another shape, dtype or range.
    """
    name = name or describe(source)
    if isinstance(source, PilImage.Image):
        yield source
    elif isinstance(source, np.ndarray):
        yield _from_array(source)
    elif isinstance(source, bytes | bytearray | memoryview):
        with io.BytesIO(source) as file, _open(file, name) as picture:
            yield picture
    elif isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        opened_file = open_media_file(path, expected="a picture file")
        with opened_file, _open(opened_file, name) as picture:
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
    start = file.read(_PREFIX)
    if not start:
        raise DecodeError(f"{name}: expected a picture, received zero bytes")
    file.seek(0)
    extra = extra_of(start)
    if extra is not None:
        _register(extra, name)
    formats = _formats(name, extra)
    try:
        return PilImage.open(file, formats=formats)
    except UnidentifiedImageError as error:
        known = _told_by(start)
        if known is not None:
            raise DecodeError(
                f"{name}: damaged {known} picture, its header cannot be read"
            ) from error
        raise DecodeError(
            f"{name}: expected a picture ({', '.join(FORMATS)}), received bytes that start with "
            f"{start!r}"
        ) from error
    except PilImage.DecompressionBombError as error:
        raise TooLargeError(f"{name}: more pixels than Pillow opens; {error}") from error
    except Exception as error:  # a damaged header: Pillow raises many kinds
        raise DecodeError(f"{name}: damaged picture header; {reason(error)}") from error


def _formats(name: str, extra: Format | None) -> tuple[str, ...]:
    if extra is not None:
        return (extra.name,)
    ending = os.path.splitext(name)[1][1:].lower()  # noqa: PTH122 (names of any kind)
    told = tuple(k.name for k in TABLE if not k.has_signature and ending in k.endings)
    return FORMATS + told


def _register(extra: Format, name: str) -> None:
    try:
        module = importlib.import_module(extra.plugin)
    except ImportError:
        problem = MissingExtraError.for_extra(extra.plugin, "formats")
        raise DecodeError(f"{name}: a {extra.name} picture; {problem}") from None
    if extra.name == "HEIF" and "HEIF" not in PilImage.OPEN:
        module.register_heif_opener()


def _told_by(start: bytes) -> str | None:
    """The format whose signature the bytes begin with."""
    for known in FORMATS:
        accept = PilImage.OPEN[known][1]
        if accept is not None and accept(start) is True:
            return known
    return None


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
