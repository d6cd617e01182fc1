"""What decides the codes of pictures beside weights, and what published code says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from dvse.errors import ConfigError
from dvse.image.placement import Resample


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What decides codes beside weights; `None` where nobody has said it yet.

    Attributes:
        resize: pixels of the short side after the resize.
        size: side of the square that is cut out of its centre.
        resample: filter of the resize.
        mean, std: per RGB channel, of pixels scaled to 0 … 1.
        metric: how features are compared with codes, `euclidean` or `cosine`.
        num_heads: attention heads of the encoder.
        min_pixels, max_pixels: area of a picture that keeps its aspect.
    """

    resize: int | None = None
    size: int | None = None
    resample: Resample | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    metric: str | None = None
    num_heads: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        for name in ("resize", "size", "num_heads", "min_pixels", "max_pixels"):
            said = getattr(self, name)
            if said is not None and (not isinstance(said, int) or said < 1):
                raise ConfigError(f"expected a whole number of at least 1 as {name}, got {said!r}")

    def over(self, published: "ImageSettings") -> "ImageSettings":
        """Return these settings, and those of published code where nothing is said here."""
        said = {
            field.name: value
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return replace(published, **said)

    def need(self, where: str, *names: str) -> None:
        """Refuse to go on while one of these is open.

        Raises:
            ConfigError: names the options to say.
        """
        if missing := [OPTIONS[name] for name in names if getattr(self, name) is None]:
            raise ConfigError(
                f"{where}: codes also depend on what its files do not say; say "
                f"{' and '.join(missing)}"
            )

    def refuse(self, where: str, *names: str) -> None:
        """Refuse what was said and decides nothing here.

        Raises:
            ConfigError: names the options to leave out.
        """
        if wrong := [OPTIONS[n].split()[0] for n in names if getattr(self, n) is not None]:
            raise ConfigError(f"{where}: decides nothing here, leave out {' and '.join(wrong)}")

    def to_dict(self) -> dict[str, Any]:
        """Return what is said."""
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }


OPTIONS: Mapping[str, str] = {
    "resize": "--resize N (pixels of the short side)",
    "size": "--size N (of the square cut out of it)",
    "resample": "--resample bilinear|bicubic|lanczos",
    "mean": "--mean R,G,B (of pixels in 0..1)",
    "std": "--std R,G,B (of pixels in 0..1)",
    "metric": "--metric euclidean|cosine",
    "num_heads": "--num-heads N",
    "min_pixels": "--min-pixels N",
    "max_pixels": "--max-pixels N",
}
"""How the command line spells each of them."""
