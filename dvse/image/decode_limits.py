"""What of a picture is refused on its header. Knows no Pillow."""

from dataclasses import dataclass

from dvse.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """What is refused before decoding.

    Attributes:
        max_pixels: width times height.
        max_side_ratio: the longer side over the shorter.
    """

    max_pixels: int = 100_000_000
    max_side_ratio: float = 100.0

    def __post_init__(self) -> None:
        if self.max_pixels < 1 or self.max_side_ratio < 1:
            raise ConfigError(f"expected limits of at least 1, received {self}")
