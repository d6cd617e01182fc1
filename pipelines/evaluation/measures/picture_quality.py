"""How near a rebuilt picture comes to its original: PSNR, SSIM, and learnt measures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
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

    *Deviations:* the mean over three channels; borders are mirrored, so that small pictures have a
    value.

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
    return float((similar / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))).mean())


def learnt_measures(
    originals: Sequence[np.ndarray], rebuilt: Sequence[np.ndarray]
) -> Mapping[str, Any]:
    """Return LPIPS and rFID from torchmetrics, each only where its weights are on disk.

    What is missing has a line under `not_measured` that says why.
    """
    import torch

    measures: dict[str, Any] = {}
    missing: dict[str, str] = {}
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    stacks = [
        torch.from_numpy(np.stack(list(pictures))).permute(0, 3, 1, 2)
        for pictures in (originals, rebuilt)
        if len({p.shape for p in pictures}) == 1
    ]
    for name, pattern, measure in (
        ("lpips", "alexnet-*.pth", _lpips),
        ("rfid", "weights-inception-*.pth", _rfid),
    ):
        if not any(hub.glob(pattern)):
            missing[name] = f"its weights ({pattern}) are not in {hub.name}/ of torch's hub folder"
        elif len(stacks) != 2:
            missing[name] = "needs pictures of one size"
        else:
            try:
                measures[name] = round(measure(*stacks), 4)
            except ImportError:
                missing[name] = "torchmetrics is not installed"
    return {**measures, "not_measured": missing} if missing else measures


def _lpips(originals: Any, rebuilt: Any) -> float:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    measure = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
    for a, b in zip(originals.split(64), rebuilt.split(64), strict=True):
        measure.update(a.float() / 255, b.float() / 255)
    return float(measure.compute())


def _rfid(originals: Any, rebuilt: Any) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    measure = FrechetInceptionDistance(feature=2048)
    for a, b in zip(originals.split(64), rebuilt.split(64), strict=True):
        measure.update(a, real=True)
        measure.update(b, real=False)
    return float(measure.compute())


def _pairs(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Any:
    return zip(a, b, strict=True)


def _float(picture: np.ndarray) -> np.ndarray:
    return picture.astype(np.float64)
