"""The loudness of a stretch as a code: evenly spaced decibels.

EnCodec of 48 kHz scales each stretch to a power of 1 and publishes the factor as a float beside the
codes. A code says it within half a step; with 1,024 codes a step is 0.12 dB, which nobody hears.
"""

import torch
from torch import Tensor

_LOWEST_DB, _HIGHEST_DB = -100.0, 20.0
"""Of the power of a stretch whose samples are around -1..1; what lies outside goes to the ends."""


def loudness_db(scales: Tensor) -> Tensor:
    """Return decibels of factors above 0.

    >>> loudness_db(torch.tensor([1.0, 0.1])).tolist()
    [0.0, -20.0]
    """
    return 20 * torch.log10(scales)


def loudness_codes(decibels: Tensor, num_codes: int) -> Tensor:
    """Return codes `int64` in 0..num_codes - 1, the nearest ones.

    >>> loudness_codes(torch.tensor([-200.0, -40.0, 20.0]), 121).tolist()
    [0, 60, 120]
    """
    steps = (decibels - _LOWEST_DB) / (_HIGHEST_DB - _LOWEST_DB) * (num_codes - 1)
    return steps.round().clamp(0, num_codes - 1).long()


def scales_of(codes: Tensor, num_codes: int) -> Tensor:
    """Return the factors fp32 that codes stand for.

    >>> scales_of(torch.tensor([100]), 121).tolist()
    [1.0]
    """
    step_db = (_HIGHEST_DB - _LOWEST_DB) / max(1, num_codes - 1)
    decibels = _LOWEST_DB + step_db * codes.double()
    return (10 ** (decibels / 20)).float()
