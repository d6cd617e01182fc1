"""Settings of the loop that trains an image codebook."""

from dataclasses import dataclass
from typing import Literal

from dvse.errors import ConfigError

Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class ImageTrainingConfig:
    """Settings of the loop.

    Attributes:
        epochs, batch_size: passes over the pictures, pictures a step (of all processes together).
        accumulate: parts that a process takes its batch in, one after the other, to fit in memory.
        precision: `no` for fp32; `bf16` or `fp16` for everything but codes and losses.
        learning_rate: peak of AdamW's; it rises over `warmup_steps` and falls as a cosine.
        weight_decay: of weight matrices (not of biases and norms).
        label_weight: of the label loss beside the pixel loss; 0 trains without labels.
        mosaic_share: share of steps that see 2x2, 1x2 or 2x1 pictures side by side, some of the
            tiles left blank.
        decoded_share: share of a batch that is decoded to pixels. Pixels are learned from fewer
            pictures than labels are, and the decoder takes a third of a step.
        hard_from, hard_by: shares of the run between which features give way to codes; before,
            the codebook only follows, after it all is as it will be used.
        checkpoint_steps: steps from one checkpoint to the next, beside that of every epoch; 0 for
            none.
        seed: of everything random.
    """

    epochs: int = 4
    batch_size: int = 64
    accumulate: int = 1
    precision: Precision = "no"
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    label_weight: float = 0.0
    mosaic_share: float = 0.25
    decoded_share: float = 1.0
    hard_from: float = 0.0
    hard_by: float = 0.0
    checkpoint_steps: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ConfigError("expected epochs, batch size and learning rate above zero")
        if self.precision not in ("no", "bf16", "fp16"):
            raise ConfigError(f"expected precision no, bf16 or fp16, received {self.precision!r}")
        if self.accumulate < 1 or self.checkpoint_steps < 0 or self.warmup_steps < 0:
            raise ConfigError(
                "expected at least 1 for accumulate and 0 for checkpoint and warm-up steps"
            )
        if self.label_weight < 0 or not 0 <= self.mosaic_share <= 1:
            raise ConfigError("expected a label weight of at least 0 and a mosaic share in 0..1")
        if not 0 < self.decoded_share <= 1:
            raise ConfigError(f"expected a decoded share in 0..1, received {self.decoded_share}")
        if not 0 <= self.hard_from <= self.hard_by <= 1:
            raise ConfigError(
                f"expected 0 <= hard_from <= hard_by <= 1, received {self.hard_from} and "
                f"{self.hard_by}"
            )
