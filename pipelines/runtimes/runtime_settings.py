"""Which runtime computes: the setting of commands that tokenise and answer."""

from dataclasses import dataclass
from typing import Literal

from pipelines.settings import setting

Runtime = Literal["torch", "onnx"]


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """What computes."""

    runtime: Runtime = setting(
        "torch",
        "onnx runs what dvse export onnx wrote, without torch; anything else is exported the first "
        "time and kept (DVSE_CACHE). Part of the numerics profile",
    )
