"""What is made of a decoder by `dvse quantize`, and what it may lose. Knows no torch."""

from dataclasses import dataclass

from dvse.errors import ConfigError
from pipelines.answering.weight_format import Quantization
from pipelines.settings import section, setting

_BITS = {"int8": 8, "int4": 4}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What may be lost.

    Raises:
        ConfigError: a number of captions below 1.
    """

    max_loss_increase: float = setting(0.05, "share by which the loss of held-out answers may grow")
    max_accuracy_loss: float = setting(0.015, "by how much an accuracy may fall, 0.01 is a point")
    max_word_error_increase: float = setting(0.015, "by how much a word error rate may grow")
    max_gate_flips: float = setting(0.05, "share of gates that may decide otherwise")
    limit: int = setting(500, "captions of each split that are asked for")

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigError(f"--limit: expected at least 1, received {self.limit}")


@dataclass(frozen=True, kw_only=True)
class QuantizationSettings:
    """What is made of a decoder, and what it may cost.

    Raises:
        ConfigError: no rows to calibrate on.
    """

    to: Quantization = setting(help="8 or 4 bits a weight")
    group_size: int | None = setting(
        None,
        "weights that share a scale at int4: 32, 64, 128 or 256 (default: the largest up to 128 "
        "that fits)",
        metavar="N",
    )
    calibration_rows: int = setting(128, "rows that --calibrate takes")
    bounds: Bounds = section(Bounds(), "what it may lose")

    def __post_init__(self) -> None:
        if self.calibration_rows < 1:
            raise ConfigError(
                f"--calibration-rows: expected at least 1, received {self.calibration_rows}"
            )

    @property
    def bits(self) -> int:
        """Of a weight."""
        return _BITS[self.to]
