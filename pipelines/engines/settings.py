"""Where and how wide a job runs, and the engine that follows from it."""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dvse.errors import ConfigError
from dvse.precision import Precision, check_precision
from pipelines.runs.numerics_settings import (
    batch_tokens_setting,
    precision_setting,
    threads_setting,
)
from pipelines.settings import setting

if TYPE_CHECKING:
    from pipelines.engines.engine import Engine

_SMALL_PICTURE = 64  # tokens; of larger ones fewer fill a batch
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a job runs, and how wide: processes, devices and threads.

    Raises:
        ConfigError: a number outside its range, no device, an unknown one, or several kinds.
    """

    num_workers: int | None = setting(
        None,
        "decode processes, of each actor with --engine ray; 0 does everything in one process "
        "(default: the processors here, or those that an actor gets)",
        name="workers",
    )
    engine_name: Literal["local", "ray"] = setting(
        "local", "ray runs on the nodes of a Ray cluster", name="engine"
    )
    ray_address: str | None = setting(
        None,
        "with --engine ray: of the cluster's head, or auto (default: start one on this machine)",
        metavar="ADDRESS",
    )
    device: str = setting("cpu", "cpu, cuda, or several: cuda:0,cuda:1")
    threads: int | None = threads_setting()
    precision: Precision = precision_setting()
    batch_tokens: int | None = batch_tokens_setting()
    time_limit_s: float = setting(
        120.0, "seconds that a decoder may take without progress", name="time_limit", metavar="S"
    )

    def __post_init__(self) -> None:
        if len({name.partition(":")[0] for name in self.devices}) != 1:
            raise ConfigError(f"--device: expected devices of one kind, received {self.device!r}")
        for name in self.devices:
            if not _DEVICE.fullmatch(name):
                raise ConfigError(f"--device: expected cpu, cuda or cuda:N, received {name!r}")
        if self.num_workers is not None and self.num_workers < 0:
            raise ConfigError(f"--workers: expected at least 0, received {self.num_workers}")
        if self.engine_name == "ray" and (self.device not in ("cpu", "cuda")):
            raise ConfigError(
                f"--device: with --engine ray expected cpu or cuda, received {self.device!r}; Ray "
                "gives each actor a GPU of its own"
            )
        if self.engine_name == "ray" and self.num_workers == 0:
            raise ConfigError("--workers: with --engine ray expected at least 1, received 0")
        if self.engine_name == "local" and self.ray_address is not None:
            raise ConfigError("--ray-address: expected --engine ray beside it")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"--threads: expected at least 1, received {self.threads}")
        if self.devices[0] == "cpu":  # a card is asked by the process that computes on it
            try:
                check_precision(self.precision, "cpu")
            except ConfigError as error:
                raise ConfigError(f"--precision: {error}") from None
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise ConfigError(f"--batch-tokens: expected at least 1, received {self.batch_tokens}")
        if not 0 < self.time_limit_s < math.inf:
            raise ConfigError(f"--time-limit: expected above 0, received {self.time_limit_s:g}")

    @property
    def devices(self) -> list[str]:
        """The devices, one process each."""
        return [name.strip() for name in self.device.split(",") if name.strip()]

    def engine(self, *, max_chunks: int) -> "Engine":
        """Return the engine; `max_chunks` are handed to an encoder at once.

        Or more, where a chosen token budget holds more small pictures than that: a batch that is
        not full costs as much as one that is.

        Raises:
            ConfigError: a number below 1.
        """
        max_chunks = max(max_chunks, (self.batch_tokens or 0) // _SMALL_PICTURE)
        if self.engine_name == "ray":
            from pipelines.engines.ray_engine import RayEngine

            return RayEngine(
                address=self.ray_address,
                device=self.device,
                num_workers=self.num_workers,
                max_chunks=max_chunks,
                time_limit_s=self.time_limit_s,
            )
        from dvse.numerics import default_workers

        workers = default_workers() if self.num_workers is None else self.num_workers
        if workers == 0:
            from pipelines.engines.inline import InlineEngine

            return InlineEngine(device=self.devices[0], max_chunks=max_chunks)
        from pipelines.engines.local import LocalEngine

        return LocalEngine(
            devices=self.devices,
            num_workers=workers,
            max_chunks=max_chunks,
            time_limit_s=self.time_limit_s,
        )
