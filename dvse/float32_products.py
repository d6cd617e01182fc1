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
_before: list[str] = []
_num_inside = 0


@contextmanager
def float32_products(kept: Literal["highest", "high"] = "highest") -> Iterator[None]:
    """Compute products in full float32, or with `high` in TF32 on CUDA.

    >>> import torch
    >>> torch.set_float32_matmul_precision("medium")
    >>> with float32_products():
    ...     torch.get_float32_matmul_precision()
    'highest'
    >>> torch.get_float32_matmul_precision()
    'medium'
    >>> torch.set_float32_matmul_precision("highest")
    """
    global _num_inside
    import torch

    with _LOCK:
        if _num_inside == 0:
            _before[:] = [torch.get_float32_matmul_precision()]
        _num_inside += 1
        torch.set_float32_matmul_precision(kept)
    try:
        yield
    finally:
        with _LOCK:
            _num_inside -= 1
            if _num_inside == 0:
                torch.set_float32_matmul_precision(_before[0])
