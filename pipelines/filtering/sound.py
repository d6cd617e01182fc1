"""Filters on what a recording sounds like: how loud it is, and how much of it is silence."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dvse.errors import ConfigError
from pipelines.filtering.media_filter import Meter, SoundFilter
from pipelines.filtering.row_filter import Refusal, outside
from pipelines.settings import setting

FRAME_S = 0.02
FLOOR_DBFS = -120.0
"""What stands for digital silence, so that every score is a number."""


@dataclass(frozen=True, kw_only=True)
class LoudnessFilter(SoundFilter):
    """A bound on the level of recordings: root mean square over all samples, sine at -3.0."""

    name: ClassVar[str] = "loudness"
    least_dbfs: float = setting(help="level in decibels of full scale, below 0")

    def __post_init__(self) -> None:
        _check_level(self.name, "least_dbfs", self.least_dbfs)

    def meter(self, sample_rate_hz: int) -> Meter:
        """Return what adds up squares."""
        return _Level(self)


@dataclass(frozen=True, kw_only=True)
class SilenceFilter(SoundFilter):
    """A bound on the share of recordings that is silence, in frames of 20 ms."""

    name: ClassVar[str] = "silence"
    most_share: float = setting(0.8, "share of silent frames, 0 to below 1")
    below_dbfs: float = setting(-50.0, "a frame is silent whose level is below this")

    def __post_init__(self) -> None:
        _check_level(self.name, "below_dbfs", self.below_dbfs)
        if not 0 <= self.most_share < 1:
            raise ConfigError(
                f"[{self.name}]: expected most_share from 0 to below 1, received {self.most_share}"
            )

    def meter(self, sample_rate_hz: int) -> Meter:
        """Return what counts silent frames."""
        return _SilentFrames(self, max(1, round(FRAME_S * sample_rate_hz)))


class _Level(Meter):
    def __init__(self, kind: LoudnessFilter) -> None:
        self._kind = kind
        self._sum, self._count = 0.0, 0

    def push(self, block: np.ndarray) -> None:
        wide = block.astype(np.float64)
        self._sum += float(wide @ wide)
        self._count += len(block)

    def finish(self) -> Refusal | None:
        level = _dbfs(self._sum / max(self._count, 1))
        return outside("level", round(level, 2), self._kind.least_dbfs, None, " dBFS")


class _SilentFrames(Meter):
    def __init__(self, kind: SilenceFilter, frame: int) -> None:
        self._kind, self._frame = kind, frame
        self._limit = 10 ** (kind.below_dbfs / 10)
        self._left = np.zeros(0, dtype=np.float32)
        self._num_frames = self._num_silent = 0

    def push(self, block: np.ndarray) -> None:
        samples = np.concatenate([self._left, block])
        whole = len(samples) // self._frame * self._frame
        self._left = samples[whole:]
        self._count(samples[:whole].reshape(-1, self._frame))

    def finish(self) -> Refusal | None:
        if len(self._left) and not self._num_frames:
            self._count(self._left[None])
        share = self._num_silent / max(self._num_frames, 1)
        if share <= self._kind.most_share:
            return None
        return Refusal(
            reason=f"{share:.1%} of it is silence (below {self._kind.below_dbfs:g} dBFS), at most "
            f"{self._kind.most_share:.1%} wanted",
            score=share,
        )

    def _count(self, frames: np.ndarray) -> None:
        power = np.mean(frames.astype(np.float64) ** 2, axis=1)
        self._num_frames += len(frames)
        self._num_silent += int((power < self._limit).sum())


def _dbfs(power: float) -> float:
    return max(FLOOR_DBFS, 10 * math.log10(power)) if power > 0 else FLOOR_DBFS


def _check_level(name: str, key: str, level: float) -> None:
    if not FLOOR_DBFS < level < 0:
        raise ConfigError(
            f"[{name}]: expected {key} between {FLOOR_DBFS:g} and 0, received {level}"
        )
