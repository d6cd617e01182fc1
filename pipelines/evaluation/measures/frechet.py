"""Fréchet distance of two sets of features, as the FID has it."""

import numpy as np


def frechet_distance(some: np.ndarray, others: np.ndarray) -> float:
    """Return the distance of two normal distributions with the sets' means and covariances.

    `‖m₁ - m₂‖² + tr(C₁ + C₂ - 2 (C₁C₂)^½)`, Heusel et al. 2017, "GANs Trained by a Two Time-Scale
    Update Rule", equation 6.

    The last trace is the sum of the singular values of `X Yᵀ / √((n-1)(m-1))`, X and Y being the
    centred sets: real and exact also where there are fewer features than channels.

    Args:
        some: `[n, dim]`, at least two.
        others: `[m, dim]`, at least two.

    >>> line = np.array([[0.0], [2.0]])  # mean 1, variance 2
    >>> round(frechet_distance(line, 2 * line + 1), 6)  # mean 3, variance 8: 4 + 10 - 2 * 4
    6.0
    """
    x, y = (np.asarray(one, np.float64) for one in (some, others))
    between = x.mean(0) - y.mean(0)
    x, y = ((one - one.mean(0)) / np.sqrt(len(one) - 1) for one in (x, y))
    spread = np.square(x).sum() + np.square(y).sum()
    # Of many features only the triangle of a QR decomposition counts; it has their covariance.
    r, s = (np.linalg.qr(one).R if len(one) > one.shape[1] else one for one in (x, y))
    shared = np.linalg.svd(r @ s.T, compute_uv=False).sum()
    return float(between @ between + spread - 2 * shared)
