"""The encoder without transformers: bit for bit transformers', or left to transformers."""

import pytest
import torch

from dvse.audio.encoder import AudioEncoder, EncoderConfig
from dvse.audio.wav2vec2 import Wav2Vec2Encoder, Wav2Vec2Sizes
from dvse.errors import ConfigError
from dvse.tokenizer import load

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [24] * 7,
}
NORMS = {
    "group": {"feat_extract_norm": "group"},
    "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    "odd": {"feat_extract_norm": "layer", "num_conv_pos_embeddings": 15},
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_features_are_those_of_transformers(architecture: str, norm: str, layer: int) -> None:
    torch.manual_seed(0)
    config = EncoderConfig(
        architecture=architecture, layer=layer, normalize=True, config={**SMALL, **NORMS[norm]}
    )
    theirs, ours = config.build(), config.build_frozen()
    assert isinstance(ours, Wav2Vec2Encoder)
    for weight in theirs.parameters():
        weight.data.normal_(std=0.2)
    ours.load_state_dict(theirs.state_dict())
    expected, found = AudioEncoder(config, theirs), AudioEncoder(config, ours)
    assert found.grid == expected.grid and found.dim == expected.dim
    with torch.inference_mode():
        for samples in (torch.randn(1, 5_000), torch.randn(3, 9_001), torch.randn(2, 40_000)):
            assert torch.equal(found(samples), expected(samples))


def test_the_shipped_encoder_is_that_of_transformers() -> None:
    ours = load("tiny", threads=1).audio.encoder
    assert isinstance(ours.model, Wav2Vec2Encoder)
    theirs = ours.config.build()
    theirs.load_state_dict(ours.model.state_dict())
    expected = AudioEncoder(ours.config, theirs)
    with torch.inference_mode():
        for samples in (0.1 * torch.randn(1, 3_000), 0.1 * torch.randn(2, 10_406)):
            assert torch.equal(ours(samples), expected(samples))


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("wavlm", {}),
        ("wav2vec2", {"hidden_act": "relu"}),
        ("wav2vec2", {"feat_extract_activation": "relu"}),
        ("wav2vec2", {"add_adapter": True}),
        ("hubert", {"conv_pos_batch_norm": True}),
        ("hubert", {"feat_proj_layer_norm": False}),
        ("wav2vec2", {"a_field_of_tomorrow": 1}),
    ],
)
def test_what_it_does_not_know_is_transformers(architecture: str, fields: dict) -> None:
    config = EncoderConfig(
        architecture=architecture, layer=1, normalize=False, config={**SMALL, **fields}
    )
    assert not isinstance(config.build_frozen(), Wav2Vec2Encoder)


@pytest.mark.parametrize(
    "fields", [{"hidden_size": 33}, {"hidden_size": "32"}, {"conv_stride": [5, 2]}]
)
def test_a_wrong_configuration_is_refused_as_ever(fields: dict) -> None:
    assert Wav2Vec2Sizes.of({**SMALL, **fields}) is None
    config = EncoderConfig(
        architecture="wav2vec2", layer=1, normalize=False, config={**SMALL, **fields}
    )
    with pytest.raises(ConfigError):
        config.build_frozen()


def test_defaults_are_those_of_transformers() -> None:
    from transformers import HubertConfig, Wav2Vec2Config

    for theirs in (Wav2Vec2Config(), HubertConfig()):
        for name, value in vars(Wav2Vec2Sizes()).items():
            found = getattr(theirs, name)
            assert (tuple(found) if isinstance(found, list | tuple) else found) == value, name
