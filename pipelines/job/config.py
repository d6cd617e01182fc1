"""Settings of a batch job."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from dvse.errors import ConfigError
from dvse.remote.remote_path import Location
from pipelines.job.part import Part
from pipelines.job.permissions import Permissions
from pipelines.settings import section, setting
from pipelines.sources.registry import SourceOptions


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """Settings of a job.

    Attributes:
        inputs: files, folders, globs, containers, addresses.
        output: directory of the shards, here or in a store.
        device: on which the numerics profile is judged.

    Raises:
        ConfigError: a setting outside its range.
    """

    inputs: Sequence[str]
    output: Location
    shard_size: int = setting(1000, "inputs a shard")
    source_options: SourceOptions = section(SourceOptions())
    max_error_rate: float = setting(
        1.0, "end early once more than this share of the inputs has failed; 1 is never"
    )
    retry_errors: bool = setting(False, "try failed inputs again")
    append: bool = setting(
        False,
        "take in new files, lines and samples, as shards behind those that are there",
    )
    redo_changed: bool = setting(
        False, "make the shards again whose inputs have changed or are gone"
    )
    trust_folders: bool = setting(
        False,
        "of a job that was begun, ask folders and containers whether they have changed, not each "
        "file in a folder: one written over in place is not noticed (dvse verify notices it)",
    )
    overwrite: bool = setting(False, "delete what an earlier job left and start again")
    allow_numerics_drift: bool = setting(
        False, "go on although device, threads or library versions have changed"
    )
    part: str | None = setting(
        None,
        "do part I of N of the job, such as 1/8, in a directory that all parts share; auto takes "
        "both from Slurm or torchrun, auto/N takes I from there or from Kubernetes",
        metavar="I/N",
    )
    take_over_s: float | None = setting(
        None,
        "with --part: then do what is left of other parts that gave no sign of life for so many "
        "seconds (60, say), and end when all is done",
        name="take_over",
        metavar="S",
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
        if self.overwrite and self.part is not None:
            raise ConfigError(
                "--overwrite deletes what other parts have made; delete the directory, or leave "
                "out --part"
            )
        if self.take_over_s is not None and self.part is None:
            raise ConfigError("--take-over: expected --part beside it")
        if self.take_over_s is not None and not 0 < self.take_over_s < math.inf:
            raise ConfigError(
                f"--take-over: expected seconds above 0, received {self.take_over_s:g}"
            )
        self.source_options.parsed()
        _ = self.of_part

    @property
    def of_part(self) -> Part | None:
        """The part of the job that this is, `None` for all of it.

        Raises:
            ConfigError: it is none.
        """
        return None if self.part is None else Part.parse(self.part, os.environ)

    @property
    def permissions(self) -> Permissions:
        """What may differ from the inputs that the job was begun with."""
        return Permissions(
            append=self.append, redo_changed=self.redo_changed, retry_errors=self.retry_errors
        )
