"""The contract of a media tokenizer: picture or recording ↔ codes of one codebook.

`image/` and `audio/` each fulfil it. It refuses to know ids: codes are local to a codebook, and
only the vocabulary turns them into ids.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dvse.chunk import Chunk
from dvse.errors import ConfigError
from dvse.items import Item
from dvse.precision import Precision
from dvse.token_budget import check_batch_tokens, rows_within

if TYPE_CHECKING:
    from dvse.codebook import Codebook


NO_CODEBOOK = "this tokenizer is a draft without a codebook; cluster what it embeds into one first"


class Preparer(ABC):
    """Reads media into chunks. Small and picklable: it holds settings, never weights."""

    @abstractmethod
    def prepare(self, item: Item, *, part: int = 0) -> Iterator[Chunk]:
        """Yield the chunks of one item in order, in bounded memory.

        Raises:
            InputError: the item cannot be read or decoded; nothing else escapes.
        """


class MediaTokenizer(ABC):
    """Chunks to codes and back, by way of features.

        chunks ─ embed ─► features ─ quantize ─► codes ─ decode ─► media

    A *draft* has no codebook yet: it embeds, and what it embeds can be clustered into one.

    Attributes:
        num_codes, num_levels: codes in a level, and residual levels; 0 in a draft.
        codebook: the centroids; `None` in a draft, and where codes are those of a lattice.
        decoder: what rebuilds media from codes, `None` where there is no way back.
        batch_tokens: the most tokens of a forward pass, where somebody chose it.
    """

    num_codes: int
    num_levels: int
    codebook: "Codebook | None" = None
    decoder: object | None = None
    batch_tokens: int | None = None

    @property
    @abstractmethod
    def preparer(self) -> Preparer:
        """The picklable half that decode workers use."""

    @abstractmethod
    def batch_rows(self, shape: tuple[int, ...]) -> int:
        """Return the rows of every forward pass over chunks of this shape."""

    @property
    def default_batch_tokens(self) -> int:
        """The most tokens of a forward pass where nobody chose `batch_tokens`."""
        return 1

    def with_batch_tokens(self, batch_tokens: int | None) -> Self:
        """Return it with another token budget of a forward pass; weights are shared.

        Raises:
            ConfigError: neither `None` nor a whole number of at least 1.
        """
        check_batch_tokens(batch_tokens)
        other = copy.copy(self)
        other.batch_tokens = batch_tokens
        return other

    def _rows(self, num_tokens: int) -> int:
        """Rows of chunks of so many tokens that share a forward pass."""
        if self.batch_tokens is None:
            return max(1, self.default_batch_tokens // num_tokens)
        return rows_within(self.batch_tokens, num_tokens)

    @abstractmethod
    def embed(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Return the features of each chunk, `float32 [kept positions, dim]`, in order.

        A chunk's features do not depend on its neighbours: every forward pass has a shape that is
        fixed by the chunk's own shape, short batches are filled up.

        Raises:
            FeatureOverflowError: a chunk whose features are NaN or infinity.
        """

    @abstractmethod
    def quantize(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the codes of what `embed` gave for each chunk, `int32 [positions, num_levels]`.

        Raises:
            ConfigError: a draft.
        """

    def encode(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Return the codes of each chunk, in order: `quantize(embed(chunks))`.

        Raises:
            ConfigError: a draft.
            FeatureOverflowError: a chunk whose features are NaN or infinity.
        """
        return self.quantize(self.embed(chunks))

    def decode(self, codes: np.ndarray, grid: tuple[int, int] | None = None) -> np.ndarray:
        """Return the media of the codes `[positions, num_levels]` of one input.

        Args:
            codes: of one input.
            grid: rows and columns of a picture whose tokenizer lets them vary.

        Raises:
            ConfigError: there is no `decoder`.
            IdRangeError: a code outside the codebook, or a number of them that is not the grid's.
        """
        raise ConfigError("this tokenizer has no way back from codes to media")

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Return the JSON description from which `from_spec` makes this tokenizer again."""

    @abstractmethod
    def save_files(self, folder: Path) -> None:
        """Write the files that `spec` names (safetensors only) into `folder`."""

    @classmethod
    @abstractmethod
    def from_spec(
        cls,
        spec: Mapping[str, Any],
        folder: Path,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> Self:
        """Load from a description and the folder that holds its files.

        Raises:
            BundleFormatError: a missing, unknown or ill-typed field.
        """
