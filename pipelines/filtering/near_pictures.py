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
from pipelines.filtering.row_filter import Refusal
from pipelines.settings import setting

BITS = 64
_SIDE = 32


@dataclass(frozen=True, kw_only=True)
class NearDuplicatePictures(MarkFilter):
    """Pictures nearly the same as an earlier one, by perceptual hash (imagehash).

    The hash has 64 bits (`imagehash.phash`: signs of the low cosines of the picture at 32 x 32
    pixels). Rows of more than one picture pass. About 300 bytes are remembered of each picture.

    Raises:
        MissingExtraError: imagehash is not installed.
    """

    name: ClassVar[str] = "near_duplicate_pictures"
    columns: ClassVar[tuple[str, ...]] = ("id",)
    remembers: ClassVar[bool] = True
    most_bits: int = setting(4, "bits of 64 in which the hashes may differ, 0 to 15")
    _ids: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    _hashes: list[int] = field(default_factory=list, init=False, repr=False, compare=False)
    _bands: list[dict[int, list[int]]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not 0 <= self.most_bits <= 15:
            raise ConfigError(
                f"[{self.name}]: expected most_bits in 0..15, received {self.most_bits}"
            )
        try:
            import imagehash  # noqa: F401
        except ImportError:
            raise MissingExtraError.for_extra("imagehash", "filters") from None
        # Of two hashes that differ in at most `most_bits` bits at least one band of these is equal.
        self._bands.extend({} for _ in range(self.most_bits + 1))

    def mark(self, picture: Image) -> str:
        """Return the hash as 16 hexadecimal digits."""
        import imagehash
        from PIL import Image as PilImage

        from dvse.image.decoding import DecodeLimits, decode_picture

        pixels, _ = decode_picture(picture.source, _whole, DecodeLimits(), name=picture.name)
        return str(imagehash.phash(PilImage.fromarray(pixels)))

    def judge(self, row: Mapping[str, Any]) -> Refusal | None:
        """Compare with the pictures kept so far."""
        if (mine := self._hash(row)) is None:
            return None
        near = {n for band, key in self._keys(mine) for n in band.get(key, ())}
        found = [((mine ^ self._hashes[n]).bit_count(), n) for n in near]
        distance, first = min(found, default=(BITS, -1))
        if distance > self.most_bits:
            return None
        return Refusal(
            reason=f"{distance} of the {BITS} bits of its hash differ from {self._ids[first]}",
            score=float(distance),
        )

    def take(self, row: Mapping[str, Any]) -> None:
        """Remember the hash."""
        if (mine := self._hash(row)) is None:
            return
        for band, key in self._keys(mine):
            band.setdefault(key, []).append(len(self._ids))
        self._ids.append(row["id"])
        self._hashes.append(mine)

    def _hash(self, row: Mapping[str, Any]) -> int | None:
        mark = row.get("marks", {}).get(self.name)
        return None if mark is None else int(mark, 16)

    def _keys(self, mine: int) -> list[tuple[dict[int, list[int]], int]]:
        """Each band with the bits of a hash that lie in it."""
        edges = [BITS * n // len(self._bands) for n in range(len(self._bands) + 1)]
        return [
            (band, mine >> low & (1 << high - low) - 1)
            for band, low, high in zip(self._bands, edges, edges[1:], strict=False)
        ]


def _whole(width: int, height: int) -> Placement:
    """All of the picture, whatever its shape."""
    return Placement(box=(0.0, 0.0, width, height), size=(_SIDE, _SIDE), grid=(1, 1))
