"""Features that come before it is their turn: held in memory up to a bound, then in files."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_HELD_BYTES = 256 << 20


class EarlyBlocks:
    """Blocks of features by number, taken out once each; use it as a context.

    Args:
        held_bytes: of them in memory at most; what comes behind that goes to the disk.

    >>> with EarlyBlocks(held_bytes=0) as early:
    ...     early.put(3, [np.ones((2, 2), np.float32), np.zeros((1, 2), np.float32)])
    ...     [block.tolist() for block in early.take(3)]
    [[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0]]]
    """

    def __init__(self, *, held_bytes: int = _HELD_BYTES) -> None:
        self._room = held_bytes
        self._held: dict[int, Sequence[np.ndarray]] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def put(self, number: int, blocks: Sequence[np.ndarray]) -> None:
        """Keep blocks until they are asked for."""
        size = _size(blocks)
        if size <= self._room:
            self._room -= size
            self._held[number] = blocks
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="dvse-features-")
        with self._file(number).open("wb") as file:
            np.save(file, len(blocks))
            for block in blocks:
                np.save(file, block)

    def take(self, number: int) -> Sequence[np.ndarray]:
        """Return blocks and forget them."""
        if (blocks := self._held.pop(number, None)) is not None:
            self._room += _size(blocks)
            return blocks
        path = self._file(number)
        with path.open("rb") as file:
            blocks = [np.load(file) for _ in range(int(np.load(file)))]
        path.unlink()
        return blocks

    def __enter__(self) -> "EarlyBlocks":
        return self

    def __exit__(self, *exc: Any) -> None:
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def _file(self, number: int) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / f"{number}.npy"


def _size(blocks: Sequence[np.ndarray]) -> int:
    return sum(block.nbytes for block in blocks)
