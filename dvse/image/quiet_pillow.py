"""Pillow without its warnings, while a picture is being decoded.

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

_lock = threading.Lock()


class _Shared:
    """How many threads are inside, and the filter that they share."""

    depth = 0
    entry: Any = None


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
        _Shared.depth += 1
    try:
        yield
    finally:
        with _lock:
            _Shared.depth -= 1
            if _Shared.depth == 0:
                with suppress(ValueError):
                    warnings.filters.remove(_Shared.entry)  # type: ignore[attr-defined]
