"""The exported decoder in ONNX Runtime: arrays of NumPy in and out, no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import CheckpointError


class Session(Protocol):
    """What runs a graph: `onnxruntime.InferenceSession` and whatever has its `run`."""

    def run(self, output_names: Any, input_feed: Mapping[str, np.ndarray]) -> Sequence[Any]:
        """Return the outputs."""


@dataclass(frozen=True, kw_only=True)
class OnnxDecoderConfig:
    """Sizes of an exported decoder, and whose ids it reads; names are `DvseConfig`'s."""

    vocab_size: int
    max_position_embeddings: int
    num_hidden_layers: int
    num_key_value_heads: int
    head_dim: int
    bundle_fingerprint: str | None = None

    @classmethod
    def of(cls, config: Any) -> "OnnxDecoderConfig":
        """Take them from a decoder's configuration."""
        return cls(**{name: getattr(config, name) for name in cls.__dataclass_fields__})

    @classmethod
    def read(cls, path: Path) -> "OnnxDecoderConfig":
        """Take them from a `config.json`.

        Raises:
            CheckpointError: unreadable, or a size that is missing or none.
        """
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
            config = cls(**{name: given[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: expected an exported decoder's: {error!r}.") from error
        sizes = [v for name, v in vars(config).items() if name != "bundle_fingerprint"]
        if any(type(size) is not int or size < 1 for size in sizes):
            raise CheckpointError(f"{path}: expected sizes above 0, got {vars(config)}.")
        return config


class OnnxDecoder:
    """Ids to logits by the graph that `DecoderStep` was traced to.

    Args:
        session: runs the graph.
        config: its sizes.
    """

    def __init__(self, session: Session, config: OnnxDecoderConfig) -> None:
        self.config, self._session = config, session
        layers = range(config.num_hidden_layers)
        self._names = [f"past_key_values.{n}.{part}" for n in layers for part in ("key", "value")]

    def empty_cache(self, batch: int) -> list[np.ndarray]:
        """Return the cache before the first token: keys, values, keys, … of each layer."""
        c = self.config
        shape = (batch, c.num_key_value_heads, 0, c.head_dim)
        return [np.zeros(shape, np.float32)] * len(self._names)

    def step(
        self,
        input_ids: np.ndarray,
        attention_mask: np.ndarray,
        position_ids: np.ndarray,
        cache: Sequence[np.ndarray],
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the logits `fp32 [B, vocab_size]` behind the last token, and the new cache.

        Args:
            input_ids: `int64 [B, T]`.
            attention_mask: `int64 [B, P + T]`, 0 for padding.
            position_ids: `int64 [B, T]`.
            cache: of the P tokens before.
        """
        feed = dict(zip(self._names, cache, strict=True))
        feed |= {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
        }
        logits, *present = self._session.run(None, feed)
        return logits[:, -1], present
