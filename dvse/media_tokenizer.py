"""The contract of a media tokenizer: picture or recording ↔ codes of one codebook.

`image/` and `audio/` each fulfil it. It refuses to know ids: codes are local to a codebook, and
only the vocabulary turns them into ids.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from dvse.chunk import Chunk
from dvse.items import Item


class Preparer(ABC):
    """Reads media into chunks. Small and picklable: it holds settings, never weights."""

    @abstractmethod
    def prepare(self, item: Item, *, part: int = 0) -> Iterator[Chunk]:
        """Yield the chunks of one item in order, in bounded memory.

        Raises:
            InputError: the item cannot be read or decoded; nothing else escapes.
        """


class MediaTokenizer(ABC):
    """Chunks → codes → media. Five words: prepare, encode, decode, num_codes, num_levels."""

    num_codes: int
    num_levels: int

    @property
    @abstractmethod
    def preparer(self) -> Preparer:
        """The picklable half that decode workers use."""

    @abstractmethod
    def encode(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Return the codes of each chunk, `int32 [kept positions, num_levels]`, in order.

        A chunk's codes do not depend on its neighbours: every forward pass has a shape that is
        fixed by the chunk's own shape, short batches are filled up.
        """

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Return the JSON description from which `from_spec` makes this tokenizer again."""

    @abstractmethod
    def save_files(self, folder: Path) -> None:
        """Write the files that `spec` names (safetensors only) into `folder`."""

    @classmethod
    @abstractmethod
    def from_spec(cls, spec: Mapping[str, Any], folder: Path, *, device: str = "cpu") -> Self:
        """Load from a description and the folder that holds its files.

        Raises:
            BundleFormatError: a missing, unknown or ill-typed field.
        """
