"""What the files of a codec leave open, and what of it has been said."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from dvse.audio.codec import Codec
from dvse.audio.overlapping_chunks import OverlappingChunks
from dvse.audio.sample_chunks import SampleChunks
from dvse.errors import ConfigError
from pipelines.importing.model_folder import read_json

LastChunk: TypeAlias = Literal["short", "filled"]
Loudness: TypeAlias = Literal["level", "none"]


@dataclass(frozen=True, kw_only=True)
class CodecChoices:
    """Settings that decide codes, `None` where nobody has said them yet; see `import_codec`."""

    num_levels: int | None = None
    chunk_s: float | None = None
    last_chunk: LastChunk | None = None
    loudness: Loudness | None = None

    def __post_init__(self) -> None:
        if self.chunk_s is not None and not 0 < self.chunk_s < math.inf:
            raise ConfigError(f"expected a chunk_s above 0, received {self.chunk_s}")
        for name, kind in (("last_chunk", LastChunk), ("loudness", Loudness)):
            said, known = getattr(self, name), get_args(kind)
            if said not in (None, *known):
                raise ConfigError(f"expected {name} among {', '.join(known)}, received {said!r}")

    def completed(self, source: Path, config: Mapping[str, Any]) -> "CodecChoices":
        """Return them with what the directory says of it.

        Args:
            source: a directory of transformers.
            config: its configuration.

        Raises:
            ConfigError: one is open that this codec has, or said that it has not.
        """
        chosen = self
        chunked = config.get("chunk_length_s") is not None
        if chunked and self.last_chunk is None:
            extractor = read_json(source / "preprocessor_config.json")
            if extractor.get("chunk_length_s") is not None:
                chosen = replace(chosen, last_chunk="filled")
        if open_ones := list(chosen._open(chunked, bool(config.get("normalize")))):
            raise ConfigError(
                f"{source}: codes also depend on what its files do not say; say "
                f"{' and '.join(open_ones)}"
            )
        return chosen

    def _open(self, chunked: bool, scales: bool) -> Iterator[str]:
        if self.num_levels is None:
            yield "--num-levels N (residual levels to use)"
        if not chunked:
            if self.last_chunk is not None:
                raise ConfigError("--last-chunk is for codecs with stretches of their own")
            if self.chunk_s is None:
                yield (
                    "--chunk-s S (longer recordings are cut there; shorter ones are encoded "
                    "whole, as published)"
                )
        elif self.chunk_s is not None:
            raise ConfigError("this codec has stretches of its own; leave out --chunk-s")
        elif self.last_chunk is None:
            yield (
                "--last-chunk short (as its authors' code gives it) or filled (up with silence, "
                "as transformers' feature extractor does)"
            )
        if not scales:
            if self.loudness is not None:
                raise ConfigError("--loudness is for codecs that scale each stretch")
        elif self.loudness is None:
            yield (
                "--loudness level (one more level says how loud a stretch was) or none (each "
                "comes back with a power of 1)"
            )

    def windowing(self, codec: Codec) -> SampleChunks | OverlappingChunks:
        """Return the plan of stretches."""
        if codec.chunk is not None:
            size, hop = codec.chunk
            return OverlappingChunks(
                chunk_samples=size, hop_samples=hop, fill_last=self.last_chunk == "filled"
            )
        seconds = self.chunk_s or 0.0
        frames = max(1, round(seconds * codec.sample_rate_hz / codec.grid.stride))
        return SampleChunks(chunk_samples=frames * codec.grid.stride)

    def settings(self, codec: Codec) -> dict[str, Any]:
        """Return what a part records of them."""
        plan, rate = self.windowing(codec), codec.sample_rate_hz
        hop = getattr(plan, "hop_samples", plan.chunk_samples)
        own = {"last_chunk": self.last_chunk} if self.last_chunk else {}
        return {
            "num_levels": self.num_levels,
            "chunk_s": plan.chunk_samples / rate,
            "overlap_s": (plan.chunk_samples - hop) / rate,
            **own,
            **({"loudness": self.loudness} if self.loudness else {}),
        }
