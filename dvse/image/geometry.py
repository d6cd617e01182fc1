"""The size that a picture is brought to before it is cut into patches.

DVSE's own geometries: a fixed square (resize the short side, cut the centre), and the picture's own
aspect within a budget of tokens; `published_geometry` has those of published tokenizers. Sizes are
pixels, grids are rows and columns of codes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from dvse.errors import BundleFormatError, ConfigError
from dvse.image.placement import Placement, check_positive
from dvse.image.published_geometry import AreaGeometry, CropGeometry
from dvse.special_tokens import MAX_GRID_SIDE
from dvse.storage.spec_fields import read_fields, write_fields


@dataclass(frozen=True, kw_only=True)
class SquareGeometry:
    """A square of `size` pixels: the centre of the picture, its short side resized to `size`.

    >>> placement = SquareGeometry(size=224, patch_size=16).place(500, 375)
    >>> placement.box, placement.size, placement.grid
    ((62.5, 0.0, 437.5, 375.0), (224, 224), (14, 14))
    """

    size: int
    patch_size: int

    def __post_init__(self) -> None:
        check_positive(size=self.size, patch_size=self.patch_size)
        if self.size % self.patch_size:
            raise ConfigError(
                f"expected a size that {self.patch_size} divides, received {self.size}"
            )

    @property
    def fixed_grid(self) -> tuple[int, int] | None:
        """The grid of every picture."""
        return (self.size // self.patch_size,) * 2

    @property
    def max_positions(self) -> int:
        """The most codes (places of the grid) that a picture can have."""
        return (self.size // self.patch_size) ** 2

    def place(self, width: int, height: int) -> Placement:
        """Return how a picture of `width` x `height` pixels is brought to the square."""
        side = min(width, height)
        left, upper = (width - side) / 2, (height - side) / 2
        grid = self.size // self.patch_size
        return Placement(
            box=(left, upper, left + side, upper + side),
            size=(self.size, self.size),
            grid=(grid, grid),
        )


@dataclass(frozen=True, kw_only=True)
class AspectGeometry:
    """The whole picture in its own aspect: at most `max_tokens` patches, never enlarged.

    A picture that fits keeps its pixels but for the rounding of each side to whole patches (as
    NaFlexViT and Qwen2-VL do); only a side shorter than one patch grows, to one patch. A
    side has at most 128 patches, the largest number that a stream can state.

    >>> AspectGeometry(patch_size=4, max_tokens=256).place(32, 32).grid
    (8, 8)
    >>> AspectGeometry(patch_size=4, max_tokens=256).place(500, 375).size
    (72, 56)
    """

    patch_size: int
    max_tokens: int

    def __post_init__(self) -> None:
        check_positive(patch_size=self.patch_size, max_tokens=self.max_tokens)

    @property
    def fixed_grid(self) -> tuple[int, int] | None:
        """`None`: the grid depends on the picture."""
        return None

    @property
    def max_positions(self) -> int:
        """The most codes (places of the grid) that a picture can have."""
        return self.max_tokens

    def place(self, width: int, height: int) -> Placement:
        """Return how a picture of `width` x `height` pixels is brought within the budget."""
        patch = self.patch_size
        scale = min(1.0, patch * math.sqrt(self.max_tokens / (width * height)))
        columns = _between(1, math.floor(width * scale / patch + 0.5), MAX_GRID_SIDE)
        rows = _between(1, math.floor(height * scale / patch + 0.5), MAX_GRID_SIDE)
        columns, rows = self._fit(columns, rows, width / height)
        return Placement(
            box=(0.0, 0.0, float(width), float(height)),
            size=(columns * patch, rows * patch),
            grid=(rows, columns),
        )

    def _fit(self, columns: int, rows: int, aspect: float) -> tuple[int, int]:
        """Take single columns or rows off until the budget holds, keeping near the aspect."""
        while columns * rows > self.max_tokens:
            narrower, lower = (columns - 1) / rows, columns / max(1, rows - 1)
            if rows == 1 or (
                columns > 1 and abs(math.log(narrower / aspect)) <= abs(math.log(lower / aspect))
            ):
                columns -= 1
            else:
                rows -= 1
        return columns, rows


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


Geometry: TypeAlias = SquareGeometry | AspectGeometry | CropGeometry | AreaGeometry
_KINDS: dict[str, Any] = {
    "square": SquareGeometry,
    "aspect": AspectGeometry,
    "crop": CropGeometry,
    "area": AreaGeometry,
}


def geometry_from_dict(description: Any) -> Geometry:
    """Make a geometry from `{"kind": "square" | "aspect" | "crop" | "area", ...}`.

    Raises:
        BundleFormatError: another kind, or a wrong field.

    >>> geometry_from_dict({"kind": "aspect", "patch_size": 4, "max_tokens": 256}).patch_size
    4
    """
    kind = description.get("kind") if isinstance(description, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BundleFormatError(
            f"image geometry: expected a kind among {sorted(_KINDS)}, received {kind!r}"
        )
    rest = {name: value for name, value in description.items() if name != "kind"}
    return read_fields(_KINDS[kind], rest, where="image geometry")


def geometry_to_dict(geometry: Geometry) -> dict[str, Any]:
    """Return the description from which `geometry_from_dict` makes it again."""
    (kind,) = (name for name, cls in _KINDS.items() if isinstance(geometry, cls))
    return {"kind": kind, **write_fields(geometry)}
