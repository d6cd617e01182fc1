"""Settings of a batch job."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dvse.errors import ConfigError
from pipelines.sources.registry import SourceOptions


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """Settings of a job.

    Attributes:
        inputs: files, folders, globs, containers, `hf:` addresses.
        output: directory of the shards.
        shard_size: inputs a shard.
        max_error_rate: end early once more than this share of the inputs has failed.
        source_options: for the sources.
        overwrite: delete what an earlier job left in `output`.
        retry_errors: do the failed inputs again, too.
        allow_numerics_drift: go on under another numerics profile.
        device: on which the profile is judged.

    Raises:
        ConfigError: a setting outside its range.
    """

    inputs: Sequence[str]
    output: Path
    shard_size: int = 1000
    max_error_rate: float = 1.0
    source_options: SourceOptions = field(default_factory=SourceOptions)
    overwrite: bool = False
    retry_errors: bool = False
    allow_numerics_drift: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ConfigError("expected at least one input")
        if self.shard_size < 1:
            raise ConfigError(f"--shard-size: expected at least 1, received {self.shard_size}")
        if not 0 <= self.max_error_rate <= 1:
            raise ConfigError(
                f"--max-error-rate: expected a share from 0 to 1, received {self.max_error_rate}"
            )
        if self.overwrite and self.retry_errors:
            raise ConfigError("--overwrite starts again, --retry-errors goes on; choose one")
        self.source_options.parsed()
