"""Features to cluster: rows of float vectors that are read in blocks, wherever they lie."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dvse.errors import TrainingError

_FINGERPRINT_ROWS = 256


class Features(ABC):
    """Rows of features, `[num_rows, dim]`.

    Attributes:
        num_rows, dim: the shape.
        in_memory: whether reading costs no disk and no new memory.
    """

    num_rows: int
    dim: int
    in_memory: bool = False

    @abstractmethod
    def read(self, start: int, stop: int) -> Tensor:
        """Return rows `start` … `stop`-1 as `fp32 [n, dim]`; never written to by the caller."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> Tensor:
        """Return the rows at ascending positions `int64 [n]` as a new `fp32 [n, dim]`."""

    def blocks(self, block_rows: int) -> Iterator[Tensor]:
        """Yield all rows in order, `block_rows` at a time."""
        for start in range(0, self.num_rows, block_rows):
            yield self.read(start, min(start + block_rows, self.num_rows))

    def fingerprint(self) -> str:
        """Return a hash of the shape and of some rows, enough to notice that features changed."""
        count = min(self.num_rows, _FINGERPRINT_ROWS)
        rows = np.linspace(0, self.num_rows - 1, count).astype(np.int64)
        digest = hashlib.sha256(f"{self.num_rows} {self.dim}".encode())
        digest.update(self.take(rows).cpu().numpy().tobytes())
        return digest.hexdigest()[:32]


class ArrayFeatures(Features):
    """Features in one array in memory (or on a GPU).

    Raises:
        TrainingError: an array of another rank, without rows, or not of floats.

    >>> ArrayFeatures(np.ones((3, 2), np.float32)).read(1, 3).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    in_memory = True

    def __init__(self, vectors: np.ndarray | Tensor) -> None:
        if isinstance(vectors, np.ndarray):
            if vectors.dtype.kind != "f":
                raise _not_features(list(vectors.shape), str(vectors.dtype))
            writable = vectors if vectors.flags.writeable else vectors.copy()
            vectors = torch.from_numpy(np.ascontiguousarray(writable))
        if vectors.ndim != 2 or not all(vectors.shape) or not vectors.is_floating_point():
            raise _not_features(list(vectors.shape), str(vectors.dtype))
        self.vectors = vectors.detach().contiguous()
        self.num_rows, self.dim = vectors.shape

    def read(self, start: int, stop: int) -> Tensor:
        """Return rows; a view where the array is fp32."""
        return self.vectors[start:stop].float()

    def take(self, rows: np.ndarray) -> Tensor:
        """Return a copy of rows."""
        return self.vectors[torch.from_numpy(rows).to(self.vectors.device)].float()


class RowSubset(Features):
    """Some rows of other features, read when they are needed."""

    def __init__(self, features: Features, rows: np.ndarray) -> None:
        self._features, self._rows = features, rows
        self.num_rows, self.dim = len(rows), features.dim

    def read(self, start: int, stop: int) -> Tensor:
        """Gather rows."""
        return self._features.take(self._rows[start:stop])

    def take(self, rows: np.ndarray) -> Tensor:
        """Gather rows."""
        return self._features.take(self._rows[rows])


class ResidualFeatures(Features):
    """What the levels fitted so far leave over: features minus the centroids of their codes.

    Args:
        features: the original ones.
        levels: a centroids `fp32 [K, dim]` for each level.
        codes: a code for each row and level, `int32 [num_rows, num_levels]`.
    """

    def __init__(self, features: Features, levels: Sequence[Tensor], codes: Tensor) -> None:
        self._features, self._levels, self._codes = features, list(levels), codes
        self.num_rows, self.dim = features.num_rows, features.dim

    def read(self, start: int, stop: int) -> Tensor:
        """Read rows and take the levels off."""
        return self._minus(self._features.read(start, stop), self._codes[start:stop])

    def take(self, rows: np.ndarray) -> Tensor:
        """Gather rows and take the levels off."""
        return self._minus(self._features.take(rows), self._codes[torch.from_numpy(rows)])

    def _minus(self, rows: Tensor, codes: Tensor) -> Tensor:
        for number, level in enumerate(self._levels):
            rows = rows - level.to(rows.device)[codes[:, number].to(rows.device).long()]
        return rows


def _not_features(shape: list[int], dtype: str) -> TrainingError:
    return TrainingError(
        f"expected features of floats [rows, dim] with at least one row, received {dtype} {shape}"
    )
