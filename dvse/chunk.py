"""The two things that travel between decoding and assembling: `Chunk` and `EncodedChunk`.

A *chunk* is a piece of one input that fits in memory and needs no file any more: a string, one
resized picture, or one window of a recording. Decode workers make chunks, a device turns them
into codes, and the codes of one input are put together again. Both classes are picklable and know
no torch.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

Modality: TypeAlias = Literal["text", "image", "audio", "special"]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of one input, ready for its encoder.

    Attributes:
        modality: which encoder it needs.
        part: position of its item in the row (0 for a row of one item).
        data: text and special `str`; image `uint8 [H, W, 3]`; audio `float32 [samples]` at the
            bundle's rate.
        keep: the half-open range of this chunk's own code positions that belong to the input
            (windows overlap); `None` keeps all.
        grid: rows and columns of codes of a picture.
        duration_s: seconds of the recording that this chunk stands for; they sum to its length.
    """

    modality: Modality
    part: int = 0
    data: str | np.ndarray
    keep: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None
    duration_s: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array (`()` for text): chunks of one shape can share a batch."""
        return () if isinstance(self.data, str) else self.data.shape

    @property
    def is_media(self) -> bool:
        """Whether an encoder has to run for it."""
        return self.modality in ("image", "audio")


@dataclass(frozen=True, kw_only=True)
class EncodedChunk:
    """What became of a `Chunk`.

    Attributes:
        codes: text and special `int32 [n]` of ids; media `int32 [n, num_levels]` of codes, local
            to a level.
        part, grid, duration_s: as in the chunk.
    """

    modality: Modality
    part: int = 0
    codes: np.ndarray
    grid: tuple[int, int] | None = None
    duration_s: float | None = None
