"""Codes that say the same thing twice: how many there are, and how to get rid of them.

K-means puts several centroids into a crowd of frames that are all but equal, such as silence. Two
codes for one sound make equal sounds look different, and are missing elsewhere.
"""

import numpy as np
import torch
from torch import Tensor

DUPLICATE_FRACTION = 0.1


def num_duplicates(centroids: Tensor, *, fraction: float = DUPLICATE_FRACTION) -> int:
    """Return how many centroids `[K, dim]` lie nearer to a neighbour than `fraction` of the median.

    >>> num_duplicates(torch.tensor([[0.0], [1.0], [2.0], [2.001]]), fraction=0.1)
    2
    """
    return len(_close_pairs(centroids, fraction))


def separate(
    vectors: np.ndarray,
    centroids: Tensor,
    *,
    fraction: float = DUPLICATE_FRACTION,
    passes: int = 3,
    most_rounds: int = 20,
) -> Tensor:
    """Return centroids `[K, dim]` without near-duplicates; all others keep their places, nearly.

    Of two that lie too near, the one with fewer vectors goes to where the squared error is largest:
    that cluster is split in two. Lloyd's algorithm then goes on from there, and what has become too
    near is looked for again.

    Args:
        vectors: float32 `[n, dim]`, what the centroids were fitted to.
        passes: of Lloyd's algorithm after each round; few, so that other codes keep their meaning.
        most_rounds: after so many, what is still too near stays.

    >>> crowd, pair = np.full((8, 1), 5.0), np.array([[0.0], [1.0]])
    >>> vectors = np.concatenate([crowd, crowd + 1e-3, pair]).astype(np.float32)
    >>> found = separate(vectors, torch.tensor([[5.0], [5.001], [0.5]]))
    >>> sorted(round(value, 2) for value in found.flatten().tolist())
    [0.0, 1.0, 5.0]
    """
    from sklearn.cluster import KMeans

    found = centroids.clone()
    for _ in range(most_rounds):
        pairs = _close_pairs(found, fraction)
        if not len(pairs):
            break
        codes, errors = _nearest(vectors, found)
        counts = np.bincount(codes, minlength=len(found))
        moved: set[int] = set()
        for pair in pairs:
            wide = _widest(codes, errors, len(found))
            if wide is not None and moved.isdisjoint(pair.tolist()):
                goes = int(pair[counts[pair].argmin()])
                moved.add(goes)
                halves = KMeans(2, n_init=2, random_state=0).fit(vectors[codes == wide])
                found[wide], found[goes] = torch.from_numpy(halves.cluster_centers_).to(found)
                errors[codes == wide] = 0  # split once a round
        if not moved:  # every vector has its code
            break
        fitted = KMeans(len(found), init=found.numpy(), n_init=1, max_iter=passes).fit(vectors)
        found = torch.from_numpy(fitted.cluster_centers_).to(centroids)
    return found


def _close_pairs(centroids: Tensor, fraction: float) -> np.ndarray:
    """Return `[n, 2]`: each centroid that is too near to another one, and that; nearest first."""
    if len(centroids) < 2:
        return np.empty((0, 2), np.int64)
    distances = torch.cdist(centroids.double(), centroids.double())
    distances.fill_diagonal_(float("inf"))
    nearest, neighbour = distances.min(1)
    # The median over pairs, not over neighbours: many duplicates must not hide each other.
    median = distances[torch.isfinite(distances)].median()
    order = nearest.argsort(stable=True)
    order = order[nearest[order] < fraction * median]
    return torch.stack([order, neighbour[order]], dim=1).numpy()


def _nearest(vectors: np.ndarray, centroids: Tensor) -> tuple[np.ndarray, np.ndarray]:
    distances = torch.cdist(torch.from_numpy(vectors), centroids)
    nearest, codes = distances.min(1)
    return codes.numpy(), nearest.square().numpy()


def _widest(codes: np.ndarray, errors: np.ndarray, num_codes: int) -> int | None:
    """Return the code with the largest error among those of several vectors, if any has one."""
    sums = np.bincount(codes, errors, minlength=num_codes)
    sums[np.bincount(codes, minlength=num_codes) < 2] = 0
    return int(sums.argmax()) if sums.any() else None
