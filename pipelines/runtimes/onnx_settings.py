"""How a model is exported to ONNX."""

from dataclasses import dataclass
from typing import Literal

from pipelines.settings import setting

Weights = Literal["float32", "int8", "int4"]


@dataclass(frozen=True, kw_only=True)
class OnnxSettings:
    """How a model is exported."""

    weights: Weights = setting(
        "float32",
        "of the decoder's products; int8 and int4 are weight-only (ONNX Runtime's quantizer), and "
        "the encoders stay in float32",
    )
