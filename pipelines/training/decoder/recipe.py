"""The recipe of a decoder: its shape, the loop, and where its conversations come from, as TOML.

    [model]                      overrides of a preset of `model.preset`
    preset = "tiny"
    num_hidden_layers = 4
    [training]                   fields of `DecoderTraining`
    max_steps = 2000

Unknown keys are refused, so a misspelt setting never goes unnoticed.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dvse.errors import ConfigError

_TABLES = {"model", "training"}


@dataclass(frozen=True, kw_only=True)
class DecoderTraining:
    """Settings of the loop.

    Attributes:
        max_steps: optimiser steps.
        batch_size: windows a device in a step (B).
        length: ids a window (T); documents are packed whole, without attention across them.
        accumulation: steps whose gradients are added up before the optimiser's.
        learning_rate: peak of AdamW's; it rises over `warmup_steps` and falls as a cosine.
        weight_decay, beta2, max_grad_norm: of AdamW and of clipping.
        precision: `fp32`, `bf16` or `fp16`.
        codebook_rows: begin image and audio rows of the embedding as the codebook's centroids.
        seed: of weights, order and dropout.
        log_every, sample_every, save_every: steps between log lines, sample answers, checkpoints.
        num_workers: processes that pack.
    """

    max_steps: int = 1000
    batch_size: int = 16
    length: int = 512
    accumulation: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    beta2: float = 0.98
    max_grad_norm: float = 1.0
    warmup_steps: int = 100
    precision: str = "fp32"
    codebook_rows: bool = True
    seed: int = 0
    log_every: int = 20
    sample_every: int = 250
    save_every: int = 250
    num_workers: int = 0

    def __post_init__(self) -> None:
        counts = (self.max_steps, self.batch_size, self.length, self.accumulation, self.save_every)
        if min(counts) < 1 or self.learning_rate <= 0 or self.warmup_steps < 0:
            raise ConfigError(
                "expected steps, batch size, length, accumulation and learning rate above zero, "
                f"received {asdict(self)}"
            )
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise ConfigError(f"expected precision fp32, bf16 or fp16, received {self.precision!r}")


@dataclass(frozen=True, kw_only=True)
class DecoderRecipe:
    """A shape and a loop.

    Attributes:
        model: overrides of the preset that `model["preset"]` names (default `tiny`).
        training: the loop.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    training: DecoderTraining = field(default_factory=DecoderTraining)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON."""
        return {"model": dict(self.model), "training": asdict(self.training)}


def read_recipe(path: Path) -> DecoderRecipe:
    """Read a recipe.

    Raises:
        ConfigError: no such file, no TOML, or a key that does not exist.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: expected a recipe in TOML; {error}") from error
    if unknown := sorted(set(document) - _TABLES):
        raise ConfigError(
            f"{path}: expected the tables {sorted(_TABLES)}, received {', '.join(unknown)}"
        )
    known = {f.name: f.type for f in fields(DecoderTraining)}
    training = document.get("training", {})
    for name, value in training.items():
        if name not in known:
            raise ConfigError(
                f"{path}: unknown setting training.{name}; known are {', '.join(known)}"
            )
        expected = type(getattr(DecoderTraining(), name))
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise ConfigError(
                f"{path}: expected training.{name} as {expected.__name__}, received {value!r}"
            )
    return DecoderRecipe(model=document.get("model", {}), training=DecoderTraining(**training))
