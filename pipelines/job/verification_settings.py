"""Settings of `dvse verify`: which bundle made the shards, and what is tokenised again."""

from dataclasses import dataclass

from dvse.errors import ConfigError
from dvse.precision import Precision
from pipelines.settings import setting


@dataclass(frozen=True, kw_only=True)
class VerificationSettings:
    """How token shards are verified.

    Raises:
        ConfigError: fewer than no samples.
    """

    bundle: str | None = setting(
        None, "the bundle that made the shards (default: the name they carry)"
    )
    device: str | None = setting(None, "where to tokenise (default: the kind recorded)")
    num_samples: int = setting(32, "inputs to tokenise again", name="samples")
    against_precision: Precision | None = setting(
        None, "also tokenise the sample in this precision, and print the share of codes that stay"
    )
    is_deep: bool = setting(False, "read every shard, however many", name="deep")
    seed: int = setting(0, "which ones")

    def __post_init__(self) -> None:
        if self.num_samples < 0:
            raise ConfigError(f"--samples: expected at least 0, received {self.num_samples}")
