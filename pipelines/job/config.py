"""Settings of a batch job."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dvse.errors import ConfigError
from pipelines.job.permissions import Permissions
from pipelines.settings import section, setting
from pipelines.sources.registry import SourceOptions


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """Settings of a job.

    Attributes:
        inputs: files, folders, globs, containers, `hf:` addresses.
        output: directory of the shards.
        device: on which the numerics profile is judged.

    Raises:
        ConfigError: a setting outside its range.
    """

    inputs: Sequence[str]
    output: Path
    shard_size: int = setting(1000, "inputs a shard")
    source_options: SourceOptions = section(SourceOptions())
    max_error_rate: float = setting(
        1.0, "end early once more than this share of the inputs has failed"
    )
    retry_errors: bool = setting(False, "try failed inputs again")
    append: bool = setting(
        False,
        "take in new files, lines and samples, as shards behind those that are there",
    )
    redo_changed: bool = setting(
        False, "make the shards again whose inputs have changed or are gone"
    )
    overwrite: bool = setting(False, "delete what an earlier job left and start again")
    allow_numerics_drift: bool = setting(
        False, "go on although device, threads or library versions have changed"
    )
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
        for name in ("retry_errors", "append", "redo_changed"):
            if self.overwrite and getattr(self, name):
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(f"--overwrite starts again, {flag} goes on; choose one")
        self.source_options.parsed()

    @property
    def permissions(self) -> Permissions:
        """What may differ from the inputs that the job was begun with."""
        return Permissions(
            append=self.append, redo_changed=self.redo_changed, retry_errors=self.retry_errors
        )
