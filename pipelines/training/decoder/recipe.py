"""The recipe of a decoder: its shape, the loop, and where its conversations come from, as TOML.

    [model]                      overrides of a preset of `model.preset`
    preset = "tiny"
    num_hidden_layers = 4
    [training]                   settings of `DecoderTraining`
    max_steps = 2000
    [adapters]                   settings of `AdapterSettings`: LoRA beside frozen weights
    rank = 16

    [[stages]]                   one after the other, each with settings of `DecoderTraining` that
    learns = "new rows"          differ from [training]: first the rows of new ids,
    max_steps = 200
    [[stages]]
    learns = "adapters"          then adapters, which are merged where a stage follows,
    [[stages]]
    learns = "all"               then everything

Instead of a preset, `checkpoint = "DIR or Hub id"` begins at a published GLM-4, see `start`.

Unknown keys are refused, so a misspelt setting never goes unnoticed.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dvse.errors import ConfigError
from pipelines.settings import from_table, setting

_TABLES = {"model", "training", "adapters", "stages"}


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
    learns: Literal["all", "new rows", "adapters"] = setting(
        "all",
        "what learns: all weights (with [adapters] these), or the embedding's rows of images and "
        "recordings alone",
    )
    sharding: Literal["none", "fsdp"] = setting(
        "none", "of several processes: each has the whole decoder, or a share of all that it holds"
    )
    attention: str | None = setting(
        None,
        "how layers attend: sdpa, eager, on cards also flex_attention and flash_attention_2 "
        "(default: as transformers chooses)",
    )
    activation_checkpointing: bool = setting(
        False, "compute activations again in the backward pass: less memory, a third more time"
    )
    optimizer: str = setting(
        "adamw_torch_fused", "as transformers names them; adamw_bnb_8bit with the extra optimizers"
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
        if min(counts) < 1 or not 0 < self.learning_rate < math.inf or self.warmup_steps < 0:
            raise ConfigError(
                "expected steps, batch size, length, accumulation and learning rate above zero, "
                f"received {asdict(self)}"
            )
        if self.learns not in ("all", "new rows", "adapters"):
            raise ConfigError(
                f"expected learns 'all', 'new rows' or 'adapters', received {self.learns!r}"
            )
        if self.sharding not in ("none", "fsdp"):
            raise ConfigError(f"expected sharding 'none' or 'fsdp', received {self.sharding!r}")
        if self.sharding == "fsdp" and self.learns == "new rows":
            raise ConfigError(
                "sharding = 'fsdp' cuts the embedding, whose new rows are to learn alone; with "
                "'none' each process has the whole decoder"
            )
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise ConfigError(f"expected precision fp32, bf16 or fp16, received {self.precision!r}")


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """LoRA beside weights that stay."""

    bits: int | None = setting(
        None, "8 or 4: round the weights that they stand beside (QLoRA; default: as they are)"
    )
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
        if self.bits not in (None, 4, 8):
            raise ConfigError(f"[adapters]: expected bits of 8 or 4, received {self.bits}")
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
        stages: loops that are run one after the other instead of `training`.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    training: DecoderTraining = field(default_factory=DecoderTraining)
    adapters: AdapterSettings | None = None
    stages: tuple[DecoderTraining, ...] = ()

    def __post_init__(self) -> None:
        if "checkpoint" in self.model and "preset" in self.model:
            raise ConfigError("[model]: expected a preset or a checkpoint, received both")
        if any(one.learns == "adapters" for one in self.stages) and self.adapters is None:
            raise ConfigError("learns = 'adapters': expected a table [adapters] beside it")
        early = any(one.learns == "adapters" for one in self.stages[:-1])
        if early and self.adapters is not None and self.adapters.bits is not None:
            raise ConfigError(
                "[adapters] bits: expected adapters in the last stage, received one behind them; "
                "they are not merged into rounded weights"
            )
        if self.adapters is not None and self.training.learns == "new rows":
            raise ConfigError(
                "expected [adapters] or learns = 'new rows', received both; adapters have "
                "new_rows = true"
            )

    def in_stages(self) -> "tuple[DecoderRecipe, ...]":
        """Return a recipe for each stage; this one where there are none."""
        if not self.stages:
            return (self,)
        return tuple(
            DecoderRecipe(
                model=self.model,
                training=one,
                adapters=self.adapters if one.learns == "adapters" else None,
            )
            for one in self.stages
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON; of a stage."""
        training = asdict(self.training)
        if training["attention"] is None:
            del training["attention"]  # so that runs of before go on
        document = {"model": dict(self.model), "training": training}
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
    for name in ("model", "training", "adapters"):
        if not isinstance(document.get(name, {}), dict):
            raise ConfigError(f"{path}: expected a table [{name}], received {document[name]!r}")
    stages = document.get("stages", [])
    if not isinstance(stages, list) or not all(isinstance(one, dict) for one in stages):
        raise ConfigError(f"{path}: expected tables [[stages]], received {stages!r}")
    training = from_table(
        DecoderTraining, document.get("training", {}), name="training", where=str(path)
    )
    adapters = None
    if "adapters" in document:
        adapters = from_table(
            AdapterSettings, document["adapters"], name="adapters", where=str(path)
        )
    common, where = document.get("training", {}), str(path)
    learning = tuple(
        from_table(DecoderTraining, {**common, **one}, name=f"stages[{number}]", where=where)
        for number, one in enumerate(stages)
    )
    return DecoderRecipe(
        model=document.get("model", {}), training=training, adapters=adapters, stages=learning
    )
