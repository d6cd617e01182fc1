"""The sizes that published tokenizers bring pictures to, pixel for pixel as their code does.

They differ from DVSE's own geometries in what a resize sees: the whole picture at its full size,
through one filter, in whole pixels. So the codes are those of the published code.
"""

import math
from dataclasses import dataclass

from dvse.errors import ConfigError, TooLargeError
from dvse.image.placement import Placement, Resample, check_positive, check_resample
from dvse.special_tokens import MAX_GRID_SIDE

_LARGEST_RESIZE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class CropGeometry:
    """torchvision's `Resize(resize)` and `CenterCrop(size)`: the centre of the resized picture.

    Attributes:
        resize: pixels of the short side after the resize; the long one is rounded down.
        size: side of the square that is cut out of its centre.
        patch_size: side of a patch.
        resample: filter of the resize.
        num_latents: codes that stand for the whole picture, in one row, in place of a code for
            each patch; 0 for those.

    >>> CropGeometry(resize=256, size=224, patch_size=16).place(500, 375)  # doctest: +ELLIPSIS
    Placement(box=(0.0, 0.0, 500.0, 375.0), size=(341, 256), grid=(14, 14), crop=(58, 16, 282, ...
    """

    resize: int
    size: int
    patch_size: int
    resample: Resample = "bicubic"
    num_latents: int = 0

    def __post_init__(self) -> None:
        check_positive(resize=self.resize, size=self.size, patch_size=self.patch_size)
        check_resample(self.resample)
        if self.resize > _LARGEST_RESIZE:
            raise ConfigError(
                f"expected a resize of at most {_LARGEST_RESIZE} pixels, received {self.resize}"
            )
        if self.size % self.patch_size or self.size > self.resize:
            raise ConfigError(
                f"expected a size of at most {self.resize} that {self.patch_size} divides, "
                f"received {self.size}"
            )
        if not isinstance(self.num_latents, int) or self.num_latents < 0:
            raise ConfigError(f"expected num_latents of at least 0, received {self.num_latents!r}")

    @property
    def fixed_grid(self) -> tuple[int, int]:
        """The grid of every picture."""
        if self.num_latents:
            return 1, self.num_latents
        return (self.size // self.patch_size,) * 2

    @property
    def max_positions(self) -> int:
        """The codes (places of the grid) of a picture."""
        return math.prod(self.fixed_grid)

    def place(self, width: int, height: int) -> Placement:
        """Return how a picture of `width` x `height` pixels is brought to the square."""
        long = int(self.resize * max(width, height) / min(width, height))
        size = (self.resize, long) if width <= height else (long, self.resize)
        # Python rounds halves to the even number, as torchvision's code does.
        left, upper = (round((side - self.size) / 2.0) for side in size)
        return Placement(
            box=(0.0, 0.0, float(width), float(height)),
            size=size,
            grid=self.fixed_grid,
            crop=(left, upper, left + self.size, upper + self.size),
            resample=self.resample,
            is_exact=True,
        )


@dataclass(frozen=True, kw_only=True)
class AreaGeometry:
    """The whole picture, its sides rounded to whole patches, its area between two bounds.

    As Emu3 and Qwen2-VL do: sides are rounded to the nearest multiple; where the area is outside,
    the picture is scaled and sides are rounded down (too large) or up (too small).

    Attributes:
        patch_size: side of what a code stands for; sides are multiples of it.
        min_pixels, max_pixels: bounds of the area.
        resample: filter of the resize.

    >>> geometry = AreaGeometry(patch_size=8, min_pixels=512 * 512, max_pixels=1024 * 1024)
    >>> geometry.place(500, 375).size, geometry.place(500, 375).grid
    ((592, 448), (56, 74))
    """

    patch_size: int
    min_pixels: int
    max_pixels: int
    resample: Resample = "bicubic"

    def __post_init__(self) -> None:
        check_positive(
            patch_size=self.patch_size, min_pixels=self.min_pixels, max_pixels=self.max_pixels
        )
        check_resample(self.resample)
        if not self.min_pixels <= self.max_pixels or self.max_pixels < self.patch_size**2:
            raise ConfigError(
                f"expected min_pixels up to max_pixels, and room for a patch, received "
                f"{self.min_pixels} and {self.max_pixels}"
            )

    @property
    def fixed_grid(self) -> None:
        """`None`: the grid depends on the picture."""
        return None

    @property
    def max_positions(self) -> int:
        """The most codes (places of the grid) that a picture can have."""
        return self.max_pixels // self.patch_size**2

    def place(self, width: int, height: int) -> Placement:
        """Return how a picture of `width` x `height` pixels is brought within the bounds.

        Raises:
            TooLargeError: more rows or columns than a stream can state.
        """
        patch = self.patch_size
        sides = [max(1, round(side / patch)) for side in (width, height)]
        if sides[0] * sides[1] * patch**2 > self.max_pixels:
            scale = math.sqrt(width * height / self.max_pixels)
            sides = [max(1, math.floor(side / scale / patch)) for side in (width, height)]
        elif sides[0] * sides[1] * patch**2 < self.min_pixels:
            scale = math.sqrt(self.min_pixels / (width * height))
            sides = [math.ceil(side * scale / patch) for side in (width, height)]
        columns, rows = sides
        if max(rows, columns) > MAX_GRID_SIDE:
            raise TooLargeError(
                f"{width}x{height} pixels make {rows}x{columns} codes, a stream states at most "
                f"{MAX_GRID_SIDE} a side; scale the picture down, or import the tokenizer with a "
                "smaller --max-pixels"
            )
        return Placement(
            box=(0.0, 0.0, float(width), float(height)),
            size=(columns * patch, rows * patch),
            grid=(rows, columns),
            resample=self.resample,
            is_exact=True,
        )
