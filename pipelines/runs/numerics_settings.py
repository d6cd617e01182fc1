"""Settings of the numerics profile, said once for every command that runs encoders."""

from dataclasses import dataclass
from typing import Any

from dvse.precision import Precision
from pipelines.settings import setting


def threads_setting() -> Any:
    """Declare a field of type `int | None`."""
    return setting(
        None,
        "threads of the encoder on a CPU, part of the numerics profile (default: the processors "
        "here)",
    )


def precision_setting() -> Any:
    """Declare a field of type `dvse.precision.Precision`."""
    return setting(
        "float32",
        "what the encoders compute in, part of the numerics profile: bfloat16 on processors with "
        "AVX-512 BF16 or AMX; on CUDA also tf32 and float16",
    )


def batch_tokens_setting() -> Any:
    """Declare a field of type `int | None`, see `dvse.token_budget`."""
    return setting(
        None,
        "the most tokens that a forward pass of an encoder holds, part of the numerics profile; "
        "dvse plan batches measures which number suits a device (default: one for its kind)",
    )


@dataclass(frozen=True, kw_only=True)
class NumericsSettings:
    """Under which profile encoders are measured; the token budget is what is looked for."""

    threads: int | None = threads_setting()
    precision: Precision = precision_setting()
