"""Pillow without its warnings and with our limits, while a picture is being decoded.

What Pillow warns about (a damaged EXIF block, many pixels) is either harmless here or reported as
an error of ours; a batch job over millions of files must not print it, and `-W error` must not turn
it into a failure. `warnings.catch_warnings` replaces the process's filters and is not safe with
threads, so one filter, for Pillow's modules only, is added for as long as any thread decodes.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from PIL import Image as PilImage
from PIL import PngImagePlugin

_lock = threading.Lock()
# Of a PNG's text, in bytes: cameras and editors write megabytes of XMP. Pixels are limited by us.
_LIMITS = (64 << 20, 128 << 20, None)


class _Shared:
    """How many threads are inside, and the filter that they share."""

    depth = 0
    entry: Any = None
    limits: tuple[Any, ...] = ()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore the warnings that modules of Pillow raise, and no others.

    >>> with quiet_pillow():
    ...     warnings.warn_explicit("damaged EXIF", UserWarning, "x.py", 1, module="PIL.Image")
    """
    with _lock:
        if _Shared.depth == 0 or _Shared.entry not in warnings.filters:
            warnings.filterwarnings("ignore", module=r"PIL\.")
            _Shared.entry = warnings.filters[0]
        if _Shared.depth == 0:
            _Shared.limits = _set_limits(_LIMITS)
        _Shared.depth += 1
    try:
        yield
    finally:
        with _lock:
            _Shared.depth -= 1
            if _Shared.depth == 0:
                _set_limits(_Shared.limits)
                with suppress(ValueError):
                    warnings.filters.remove(_Shared.entry)  # type: ignore[attr-defined]


def _set_limits(limits: tuple[Any, ...]) -> tuple[Any, ...]:
    """Set Pillow's own limits and return what they were."""
    before = (
        PngImagePlugin.MAX_TEXT_CHUNK,
        PngImagePlugin.MAX_TEXT_MEMORY,
        PilImage.MAX_IMAGE_PIXELS,
    )
    PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = limits[:2]
    PilImage.MAX_IMAGE_PIXELS = limits[2]
    return before
