"""What tokenizers of pictures share, whoever computes the codes: how a picture is prepared."""

from dvse.image.geometry import Geometry
from dvse.image.preparer import ImagePreparer
from dvse.media_tokenizer import MediaTokenizer


class PictureTokenizer(MediaTokenizer):
    """Pictures → codes `[rows * columns, num_levels]`."""

    _preparer: ImagePreparer

    @property
    def preparer(self) -> ImagePreparer:
        """The half that decode workers run."""
        return self._preparer

    @property
    def geometry(self) -> Geometry:
        """The size that pictures are brought to; `fixed_grid` is `None` where it varies."""
        return self._preparer.geometry

    @property
    def fixed_grid(self) -> tuple[int, int] | None:
        """Rows and columns of every picture, `None` where they depend on the picture."""
        return self.geometry.fixed_grid

    @property
    def max_positions(self) -> int:
        """The most codes (places of the grid) that a picture can have."""
        return self.geometry.max_positions

    @property
    def max_chunk_tokens(self) -> int:
        """The most tokens of one chunk: those of the largest picture."""
        return self.max_positions

    def batch_rows(self, shape: tuple[int, ...]) -> int:
        """Return the rows of every forward pass over pictures of `shape` (H, W, 3)."""
        return self._rows(self.num_tokens(shape))

    def num_tokens(self, shape: tuple[int, ...]) -> int:
        """Return the tokens of a picture of `shape` (H, W, 3): its patches."""
        patch = self.geometry.patch_size
        return (shape[0] // patch) * (shape[1] // patch)
