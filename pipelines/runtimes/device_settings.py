"""How a model is exported to devices, whose graphs have bounds."""

from dataclasses import dataclass
from typing import Literal

from dvse.errors import ConfigError
from pipelines.settings import setting

DeviceWeights = Literal["float32", "int4"]
INT4_GROUP = 32
"""Weights of a row that share a scale at int4."""


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """What a device gets.

    Attributes:
        weights, context, longest: of the decoder.
        picture_side: of the tokenizer's pictures.

    Raises:
        ConfigError: a bound below 1, or a call longer than the context.
    """

    weights: DeviceWeights = setting(
        "float32",
        f"of the decoder's products; int4 has 4-bit weights in groups of {INT4_GROUP} and 8-bit "
        "activations",
    )
    context: int = setting(512, "tokens that the cache holds, prompt and answer together")
    picture_side: int | None = setting(
        None,
        "pixels of a side of the square pictures that the program takes, cut or scaled before "
        "(default: the largest that the bundle has)",
        metavar="N",
    )
    longest: int = setting(256, "tokens that one call reads, a prompt or a part of it")

    def __post_init__(self) -> None:
        if not 1 <= self.longest <= self.context:
            raise ConfigError(
                f"expected 1 <= --longest <= --context, received {self.longest} and {self.context}"
            )
        if self.picture_side is not None and self.picture_side < 1:
            raise ConfigError(f"--picture-side: expected at least 1, received {self.picture_side}")
