"""A bounded uniform sample of a stream of vectors (reservoir sampling)."""

import numpy as np

from dvse.errors import TrainingError


class Reservoir:
    """Keeps at most `capacity` vectors of a stream, each with the same chance.

    Algorithm R (Vitter 1985, "Random Sampling with a Reservoir"): vector i (from 0) takes a random
    place in 0 … i, and is kept if that place lies below the capacity.

    *Deviations:* a block at a time; within a block the last vector to take a place stays, exactly
    as one by one.

    >>> sample = Reservoir(capacity=10, seed=0)
    >>> sample.add(np.zeros((8, 3), np.float32)); sample.add(np.ones((8, 3), np.float32))
    >>> sample.vectors.shape, sample.num_seen
    ((10, 3), 16)
    """

    def __init__(self, *, capacity: int, seed: int) -> None:
        if capacity < 1:
            raise TrainingError(f"expected room for at least one vector, received {capacity}")
        self._capacity, self._rng = capacity, np.random.default_rng(seed)
        self._kept: np.ndarray | None = None
        self.num_seen = 0

    def add(self, vectors: np.ndarray) -> None:
        """Offer vectors `[n, dim]`.

        Raises:
            TrainingError: another width than before, or values that are not finite.
        """
        if not np.isfinite(vectors).all():
            raise TrainingError(
                "expected finite features, received NaN or infinity; check the encoder"
            )
        if self._kept is None:
            self._kept = np.empty((self._capacity, vectors.shape[1]), np.float32)
        if vectors.shape[1] != self._kept.shape[1]:
            raise TrainingError(
                f"expected features of width {self._kept.shape[1]}, received {vectors.shape[1]}"
            )
        room = max(0, min(self._capacity - self.num_seen, len(vectors)))
        self._kept[self.num_seen : self.num_seen + room] = vectors[:room]
        late = vectors[room:]
        numbers = np.arange(self.num_seen + room, self.num_seen + len(vectors))
        places = self._rng.integers(0, numbers + 1)
        # Of several vectors that draw one place the last stays: numpy assigns in order.
        chosen = places < self._capacity
        self._kept[places[chosen]] = late[chosen]
        self.num_seen += len(vectors)

    @property
    def vectors(self) -> np.ndarray:
        """The sample, `float32 [n, dim]`.

        Raises:
            TrainingError: nothing has been offered.
        """
        if self._kept is None or not self.num_seen:
            raise TrainingError("expected features to cluster, received none")
        return self._kept[: self.num_seen]
