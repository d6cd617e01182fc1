"""The small speech encoder that is trained here: its shape and its heads."""

from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

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


class UnitEncoder(nn.Module):
    """The encoder with its two training heads on the last hidden state `[B, T, hidden]`."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.encoder = Wav2Vec2Model(config)
        # The fused attention's gradient takes ten times as long over so few frames on a processor.
        self.encoder.set_attn_implementation("eager")
        self.phone_head = nn.Linear(config.hidden_size, len(PHONES))
        self.digit_head = nn.Linear(config.hidden_size, NO_DIGIT + 1)

    def forward(self, samples: Tensor, mask: Tensor) -> Tensor:
        """Return features `[B, T, hidden]` of `samples` `[B, n]` (normalised, zero-padded)."""
        return self.encoder(samples, attention_mask=mask).last_hidden_state
