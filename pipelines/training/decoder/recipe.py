"""The recipe of a decoder: its shape, the loop, and where its conversations come from, as TOML.

    [model]                      overrides of a preset of `model.preset`
    preset = "tiny"
    num_hidden_layers = 4
    [training]                   settings of `DecoderTraining`
    max_steps = 2000
    [adapters]                   settings of `AdapterSettings`: LoRA beside frozen weights
    rank = 16

Instead of a preset, `checkpoint = "DIR or Hub id"` begins at a published GLM-4, see `start`.

Unknown keys are refused, so a misspelt setting never goes unnoticed.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dvse.errors import ConfigError
from pipelines.settings import from_table, setting

_TABLES = {"model", "training", "adapters"}


@dataclass(frozen=True, kw_only=True)
class DecoderTraining:
    """The loop."""

    max_steps: int = setting(1000, "optimiser steps")
    batch_size: int = setting(16, "windows a device in a step (B)")
    length: int = setting(512, "ids a window (T); documents do not see each other")
    accumulation: int = setting(1, "steps whose gradients are added up before the optimiser's")
    learning_rate: float = setting(2e-3, "peak of AdamW's; it rises and then falls as a cosine")
    weight_decay: float = setting(0.05, "of AdamW")
    beta2: float = setting(0.98, "of AdamW")
    max_grad_norm: float = setting(1.0, "gradients are clipped to it")
    warmup_steps: int = setting(100, "over which the learning rate rises")
    precision: Literal["fp32", "bf16", "fp16"] = setting("fp32", "of the forward pass")
    learns: Literal["all", "new rows"] = setting(
        "all", "what learns: all weights, or the embedding's rows of images and recordings alone"
    )
    activation_checkpointing: bool = setting(
        False, "compute activations again in the backward pass: less memory, a third more time"
    )
    optimizer: str = setting(
        "adamw_torch_fused", "as transformers names them; adamw_bnb_8bit where bitsandbytes is"
    )
    codebook_rows: bool = setting(
        True, "begin image and audio rows of the embedding as the codebook's centroids"
    )
    seed: int = setting(0, "of weights, order and dropout")
    log_every: int = setting(20, "steps between log lines")
    sample_every: int = setting(250, "steps between sample answers")
    save_every: int = setting(250, "steps between checkpoints")
    num_workers: int = setting(0, "processes that pack")

    def __post_init__(self) -> None:
        counts = (self.max_steps, self.batch_size, self.length, self.accumulation, self.save_every)
        if min(counts) < 1 or self.learning_rate <= 0 or self.warmup_steps < 0:
            raise ConfigError(
                "expected steps, batch size, length, accumulation and learning rate above zero, "
                f"received {asdict(self)}"
            )
        if self.learns not in ("all", "new rows"):
            raise ConfigError(f"expected learns 'all' or 'new rows', received {self.learns!r}")
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise ConfigError(f"expected precision fp32, bf16 or fp16, received {self.precision!r}")


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """LoRA beside weights that stay."""

    rank: int = setting(16, "of the adapters")
    alpha: int = setting(32, "their scale, divided by the rank")
    dropout: float = setting(0.0, "before them")
    targets: tuple[str, ...] = setting(
        (), "modules that get one (default: all-linear, attention and FFN)"
    )
    new_rows: bool = setting(
        True, "let the embedding's rows of images and recordings learn beside them"
    )

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ConfigError(
                "[adapters]: expected a rank of at least 1, alpha above 0 and dropout of 0 … 1, "
                f"received {self.rank}, {self.alpha}, {self.dropout}"
            )


@dataclass(frozen=True, kw_only=True)
class DecoderRecipe:
    """A shape and a loop.

    Attributes:
        model: overrides of the preset that `model["preset"]` names (default `tiny`), or of the
            configuration of `model["checkpoint"]`.
        training: the loop.
        adapters: `None` where the decoder itself learns.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    training: DecoderTraining = field(default_factory=DecoderTraining)
    adapters: AdapterSettings | None = None

    def __post_init__(self) -> None:
        if "checkpoint" in self.model and "preset" in self.model:
            raise ConfigError("[model]: expected a preset or a checkpoint, received both")
        if self.adapters is not None and self.training.learns != "all":
            raise ConfigError(
                "expected [adapters] or learns = 'new rows', received both; adapters have "
                "new_rows = true"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON."""
        document = {"model": dict(self.model), "training": asdict(self.training)}
        return document | ({"adapters": asdict(self.adapters)} if self.adapters else {})


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
    training = from_table(
        DecoderTraining, document.get("training", {}), name="training", where=str(path)
    )
    adapters = None
    if "adapters" in document:
        adapters = from_table(
            AdapterSettings, document["adapters"], name="adapters", where=str(path)
        )
    return DecoderRecipe(model=document.get("model", {}), training=training, adapters=adapters)
