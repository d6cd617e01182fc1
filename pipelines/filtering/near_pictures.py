"""A filter on nearly the same pictures: another size, another JPEG quality, a faint change.

The first one in input order stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dvse.errors import ConfigError, MissingExtraError
from dvse.image.geometry import Placement
from dvse.items import Image
from pipelines.filtering.media_filter import MarkFilter
from pipelines.filtering.near_hashes import BITS, NearHashes
from pipelines.filtering.row_filter import Refusal
from pipelines.settings import setting

_SIDE = 32


@dataclass(frozen=True, kw_only=True)
class NearDuplicatePictures(MarkFilter):
    """Pictures nearly the same as an earlier one, by perceptual hash (imagehash).

    The hash has 64 bits (`imagehash.phash`: signs of the low cosines of the picture at 32 x 32
    pixels). Rows of more than one picture pass. What is remembered lies in a temporary file, of
    which 64 MiB are held in memory.

    Raises:
        MissingExtraError: imagehash is not installed.
    """

    name: ClassVar[str] = "near_duplicate_pictures"
    columns: ClassVar[tuple[str, ...]] = ("id",)
    remembers: ClassVar[bool] = True
    most_bits: int = setting(4, "bits of 64 in which the hashes may differ, 0 to 15")
    _hashes: NearHashes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.most_bits <= 15:
            raise ConfigError(
                f"[{self.name}]: expected most_bits in 0..15, received {self.most_bits}"
            )
        try:
            import imagehash  # noqa: F401
        except ImportError:
            raise MissingExtraError.for_extra("imagehash", "filters") from None
        object.__setattr__(self, "_hashes", NearHashes(most_bits=self.most_bits))

    def mark(self, picture: Image) -> str:
        """Return the hash as 16 hexadecimal digits."""
        import imagehash
        from PIL import Image as PilImage

        from dvse.image.decode_limits import DecodeLimits
        from dvse.image.decoding import decode_picture

        pixels, _ = decode_picture(picture.source, _whole, DecodeLimits(), name=picture.name)
        return str(imagehash.phash(PilImage.fromarray(pixels)))

    def judge(self, row: Mapping[str, Any]) -> Refusal | None:
        """Compare with the pictures kept so far."""
        if (mine := self._hash(row)) is None:
            return None
        if (near := self._hashes.nearest(mine)) is None:
            return None
        return Refusal(
            reason=f"{near.distance} of the {BITS} bits of its hash differ from {near.name}",
            score=float(near.distance),
        )

    def take(self, row: Mapping[str, Any]) -> None:
        """Remember the hash."""
        if (mine := self._hash(row)) is not None:
            self._hashes.add(mine, row["id"])

    def _hash(self, row: Mapping[str, Any]) -> int | None:
        mark = row.get("marks", {}).get(self.name)
        return None if mark is None else int(mark, 16)


def _whole(width: int, height: int) -> Placement:
    """All of the picture, whatever its shape."""
    return Placement(box=(0.0, 0.0, width, height), size=(_SIDE, _SIDE), grid=(1, 1))
