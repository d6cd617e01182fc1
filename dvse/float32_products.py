"""Products of float32 as the profile says, whatever the process has set.

`torch.set_float32_matmul_precision("medium")` rounds products of float32 to bfloat16 where the
processor is fast at it (AMX), those of a convolution that resamples among them. torch has one such
setting for all threads, so it is put back when the last of those that need it is done.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

_LOCK = threading.Lock()
_settings: list[str] = []  # what the process had set, then what those inside ask for


@contextmanager
def float32_products(kept: Literal["highest", "high"] = "highest") -> Iterator[None]:
    """Compute products in full float32, or with `high` in TF32 on CUDA.

    >>> import torch
    >>> torch.set_float32_matmul_precision("medium")
    >>> with float32_products():
    ...     with float32_products("high"):
    ...         pass
    ...     torch.get_float32_matmul_precision()
    'highest'
    >>> torch.get_float32_matmul_precision()
    'medium'
    >>> torch.set_float32_matmul_precision("highest")
    """
    import torch

    with _LOCK:
        if not _settings:
            _settings.append(torch.get_float32_matmul_precision())
        _settings.append(kept)
        torch.set_float32_matmul_precision(kept)
    try:
        yield
    finally:
        with _LOCK:
            _settings.reverse()  # the last one that asked for this
            _settings.remove(kept)
            _settings.reverse()
            torch.set_float32_matmul_precision(_settings[-1])
            if len(_settings) == 1:
                _settings.clear()
