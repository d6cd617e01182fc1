"""The small speech encoder that is trained here: its shape, its heads, its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from dvse.errors import ConfigError
from pipelines.speech.phones import PHONES
from pipelines.speech.word_lists import DIGIT_WORDS

NO_DIGIT = len(DIGIT_WORDS)

IGNORED = -100


def tiny_encoder_config() -> Wav2Vec2Config:
    """Return the shape of the shipped encoder: 8 kHz in, 50 frames a second out, 1.3 M weights.

    Strides 8·5·4 = 160 samples; a frame sees 288 samples (36 ms) before the transformer. Layer
    norm in the convolutions, so that no frame depends on the statistics of a whole window.
    """
    return Wav2Vec2Config(
        hidden_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=448,
        conv_dim=(48, 80, 128),
        conv_kernel=(16, 10, 6),
        conv_stride=(8, 5, 4),
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=False,
        num_conv_pos_embeddings=15,
        num_conv_pos_embedding_groups=16,
        apply_spec_augment=False,
        layerdrop=0.0,
        hidden_dropout=0.0,
        activation_dropout=0.0,
        attention_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        vocab_size=len(PHONES),
    )


@dataclass(frozen=True, kw_only=True)
class UnitEncoderTraining:
    """Settings of a training run.

    Attributes:
        steps: optimiser steps; the learning rate falls to zero over the last `cooldown` share.
        digits_per_step, sequences_per_step, crops_per_step: recorded digits alone, two to six of
            them joined with pauses, and synthetic speech in a step.
        longest_s: only stretches of this length are seen, as the tokenizer's windows will be.
        joined_share: of the synthetic clips are several, joined with pauses.
        digit_weight, agreement_weight: weights of the digit loss and of the two views' distance
            against the phone loss, which counts once.
        align_from: step from which recorded digits are aligned and their phones trained.
        agree_from: share of the steps after which each clip is seen twice.
    """

    steps: int = 3000
    digits_per_step: int = 8
    sequences_per_step: int = 12
    crops_per_step: int = 8
    joined_share: float = 0.3
    longest_s: float = 1.28
    learning_rate: float = 2e-3
    warmup: int = 200
    cooldown: float = 0.4
    digit_weight: float = 0.6
    agreement_weight: float = 2.0
    align_from: int = 200
    agree_from: float = 0.3
    sample_rate_hz: int = 8000
    seed: int = 0
    checkpoint_every: int = 250
    encoder: Mapping[str, Any] = field(default_factory=lambda: tiny_encoder_config().to_diff_dict())

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.cooldown <= 1:
            raise ConfigError(
                f"expected steps >= 1 and cooldown in 0..1, received {self.steps}, {self.cooldown}"
            )


class UnitEncoder(nn.Module):
    """The encoder with its two training heads on the last hidden state `[B, T, hidden]`."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.encoder = Wav2Vec2Model(config)
        self.phone_head = nn.Linear(config.hidden_size, len(PHONES))
        self.digit_head = nn.Linear(config.hidden_size, NO_DIGIT + 1)

    def forward(self, samples: Tensor, mask: Tensor) -> Tensor:
        """Return features `[B, T, hidden]` of `samples` `[B, n]` (normalised, zero-padded)."""
        return self.encoder(samples, attention_mask=mask).last_hidden_state
