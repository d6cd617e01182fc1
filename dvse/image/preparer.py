"""Pictures to chunks: the half of the image tokenizer that decode workers run, without torch."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dvse.chunk import Chunk
from dvse.errors import ItemTypeError
from dvse.image.decode_limits import DecodeLimits
from dvse.image.geometry import Geometry
from dvse.items import Image, Item
from dvse.media_tokenizer import Preparer


@dataclass(frozen=True, kw_only=True)
class ImagePreparer(Preparer):
    """Decodes a picture and brings it to the geometry's size: one chunk a picture.

    >>> import numpy as np
    >>> from dvse.image.geometry import AspectGeometry
    >>> preparer = ImagePreparer(geometry=AspectGeometry(patch_size=4, max_tokens=256))
    >>> (chunk,) = preparer.prepare(Image(np.zeros((32, 64, 3), np.uint8)))
    >>> chunk.data.shape, chunk.grid
    ((32, 64, 3), (8, 16))
    """

    geometry: Geometry
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    def prepare(self, item: Item, *, part: int = 0) -> Iterator[Chunk]:
        """Yield the one chunk of a picture.

        Raises:
            InputError: see `decode_picture`.
        """
        from dvse.image.decoding import decode_picture  # Pillow's formats: for pictures alone

        if not isinstance(item, Image):
            raise ItemTypeError(f"expected dvse.Image, received {type(item).__name__}")
        limits = self.limits
        if item.max_pixels is not None:
            limits = replace(limits, max_pixels=item.max_pixels)
        pixels, placement = decode_picture(item.source, self.geometry.place, limits, name=item.name)
        yield Chunk(modality="image", part=part, data=pixels, grid=placement.grid)
