"""How near a rebuilt picture comes to its original, by formula: PSNR and SSIM."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr_db(originals: Sequence[np.ndarray], rebuilt: Sequence[np.ndarray]) -> float:
    """Return 10 log10(255² / MSE) with the error over all pixels of all pictures, in dB.

    >>> round(psnr_db([np.full((2, 2, 3), 10, np.uint8)], [np.full((2, 2, 3), 15, np.uint8)]), 2)
    34.15
    """
    error = sum(
        float(np.square(_float(a) - _float(b)).sum()) for a, b in _pairs(originals, rebuilt)
    )
    mean = error / sum(a.size for a in originals)
    return float(10 * np.log10(255**2 / max(mean, 1e-9)))


def ssim(original: np.ndarray, rebuilt: np.ndarray) -> float:
    """Return the structural similarity of two pictures `uint8 [H, W, 3]`, at most 1.

    Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity",
    equation 13, Gaussian windows of 11 x 11 with standard deviation 1.5.

    The mean over three channels and the places whose window lies inside the picture, as
    scikit-image has it with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.

    *Deviations:* of a picture that no window fits into, all places count, borders mirrored.

    >>> picture = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    >>> ssim(picture, picture)
    1.0
    """
    x, y = _float(original), _float(rebuilt)

    def smooth(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (_SIGMA, _SIGMA, 0), radius=(_RADIUS, _RADIUS, 0))

    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    covariance = smooth(x * y) - mean_x * mean_y
    similar = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    found = similar / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))
    inside = found[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    return float((inside if inside.size else found).mean())


def _pairs(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Any:
    return zip(a, b, strict=True)


def _float(picture: np.ndarray) -> np.ndarray:
    return picture.astype(np.float64)
