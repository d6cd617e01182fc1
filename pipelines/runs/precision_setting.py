"""The setting of what encoders compute in, said once for every command that runs them."""

from typing import Any

from pipelines.settings import setting


def precision_setting() -> Any:
    """Declare a field of type `dvse.precision.Precision`."""
    return setting(
        "float32",
        "what the encoders compute in, part of the numerics profile: bfloat16 on processors with "
        "AVX-512 BF16 or AMX; on CUDA also tf32 and float16",
    )
