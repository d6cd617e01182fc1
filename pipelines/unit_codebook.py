"""Fits a codebook to the frames of recordings: a bounded uniform sample, then k-means."""

from collections.abc import Iterable

import numpy as np
import torch

from dvse.codebook import Codebook
from dvse.errors import TrainingError


class FrameSample:
    """A uniform sample of at most `max_frames` vectors out of a stream (reservoir sampling).

    Algorithm R (Vitter 1985, "Random Sampling with a Reservoir"), a block at a time: every vector
    of the stream has the same chance to stay, however long the stream is.

    >>> sample = FrameSample(max_frames=10, seed=0)
    >>> sample.add(np.zeros((8, 3), np.float32)); sample.add(np.ones((8, 3), np.float32))
    >>> sample.vectors.shape, sample.num_seen
    ((10, 3), 16)
    """

    def __init__(self, *, max_frames: int, seed: int) -> None:
        self._max = max_frames
        self._rng = np.random.default_rng(seed)
        self._kept: list[np.ndarray] = []
        self._array: np.ndarray | None = None
        self.num_seen = 0

    def add(self, vectors: np.ndarray) -> None:
        """Offer vectors `[n, dim]`."""
        room = max(0, self._max - self.num_seen)
        self._kept.append(vectors[:room].astype(np.float32))
        self.num_seen += len(vectors[:room])
        if not len(vectors[room:]):
            return
        if self._array is None:
            self._array = np.concatenate(self._kept)
        for vector in vectors[room:]:
            place = int(self._rng.integers(self.num_seen + 1))
            if place < self._max:
                self._array[place] = vector
            self.num_seen += 1

    @property
    def vectors(self) -> np.ndarray:
        """The sample, float32 `[n, dim]`.

        Raises:
            TrainingError: nothing has been offered.
        """
        if not self.num_seen:
            raise TrainingError("expected frames to cluster, received none")
        return np.concatenate(self._kept) if self._array is None else self._array


def fit_codebook(
    vectors: np.ndarray, num_codes: int, *, seed: int = 0, restarts: int = 2
) -> Codebook:
    """Fit k-means (scikit-learn, k-means++, Lloyd) and return its centroids as a codebook.

    Args:
        vectors: float32 `[n, dim]`.
        restarts: runs from other centroids, of which the one with the least inertia is kept.

    Raises:
        TrainingError: fewer different vectors than codes, or values that are not finite.
    """
    from sklearn.cluster import KMeans

    if num_codes < 1:
        raise TrainingError(f"expected at least one code, received {num_codes}")
    if not np.isfinite(vectors).all():
        raise TrainingError("expected finite features, received NaN or infinity; check the encoder")
    num_different = len(np.unique(vectors, axis=0))
    if num_different < num_codes:
        raise TrainingError(
            f"expected at least {num_codes} different frames for {num_codes} codes, received "
            f"{num_different} among {len(vectors)}; give more recordings or ask for fewer codes"
        )
    fitted = KMeans(num_codes, n_init=restarts, random_state=seed, max_iter=100).fit(vectors)
    return Codebook(torch.from_numpy(fitted.cluster_centers_.astype(np.float32))[None])


def sample_frames(features: Iterable[np.ndarray], *, max_frames: int, seed: int) -> FrameSample:
    """Return a sample of a stream of features `[n, dim]`."""
    sample = FrameSample(max_frames=max_frames, seed=seed)
    for block in features:
        sample.add(block)
    return sample
