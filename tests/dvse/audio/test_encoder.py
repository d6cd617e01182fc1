"""Encoders give transformers' hidden states, cut off above the layer that is asked for."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from dvse.audio.encoder import AudioEncoder, EncoderConfig
from dvse.errors import BundleNotFoundError, ConfigError

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8, 8),
    "conv_kernel": (10, 4, 4),
    "conv_stride": (5, 4, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
FAMILIES = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
}
VARIANTS = [
    {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
]


def random_model(family: str, variant: dict[str, object]) -> torch.nn.Module:
    torch.manual_seed(0)
    config_class, model_class = FAMILIES[family]
    return model_class(config_class(**SIZES, **variant)).eval()


@pytest.mark.parametrize("variant", VARIANTS, ids=["group", "layer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_is_transformers_own(family: str, variant: dict[str, object]) -> None:
    model = random_model(family, variant)
    samples = torch.randn(2, 2000)
    with torch.inference_mode():
        expected = model(samples, output_hidden_states=True)
    for layer in range(4):
        encoder = AudioEncoder.of(copy.deepcopy(model), layer=layer, normalize=False)
        found = encoder(samples)
        wanted = expected.last_hidden_state if layer == 3 else expected.hidden_states[layer]
        assert len(encoder.model.encoder.layers) == layer
        assert found.shape == (2, encoder.grid.num_frames(2000), encoder.dim)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS, ids=["group", "layer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_builds_the_same_network(family: str, variant: dict[str, object]) -> None:
    encoder = AudioEncoder.of(random_model(family, variant), layer=2, normalize=True)
    other = AudioEncoder(encoder.config, encoder.config.build())
    other.model.load_state_dict(encoder.model.state_dict())
    samples = torch.randn(1, 1234)
    assert torch.equal(other(samples), encoder(samples))


def test_normalises_like_the_published_feature_extractors() -> None:
    encoder = AudioEncoder.of(random_model("wav2vec2", VARIANTS[0]), layer=1, normalize=True)
    plain = AudioEncoder.of(random_model("wav2vec2", VARIANTS[0]), layer=1, normalize=False)
    samples = (0.01 * np.random.default_rng(0).standard_normal(3000) + 0.3).astype(np.float32)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    expected = plain(extractor(samples, sampling_rate=16_000, return_tensors="pt").input_values)
    torch.testing.assert_close(
        encoder(torch.from_numpy(samples)[None]), expected, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("normalize", [True, False])
def test_loads_a_published_directory(tmp_path: Path, normalize: bool) -> None:
    model = random_model("hubert", VARIANTS[0])
    model.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(tmp_path)
    encoder = AudioEncoder.from_pretrained(tmp_path, layer=2)
    assert encoder.config.normalize is normalize
    assert encoder.config.architecture == "hubert"
    expected = AudioEncoder.of(model, layer=2, normalize=normalize)
    samples = torch.randn(1, 900)
    assert torch.equal(encoder(samples), expected(samples))


def test_loads_the_encoder_inside_a_speech_recogniser(tmp_path: Path) -> None:
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**SIZES)).eval()
    model.save_pretrained(tmp_path)
    encoder = AudioEncoder.from_pretrained(tmp_path, layer=3)
    samples = torch.randn(1, 900)
    assert not encoder.config.normalize  # no feature extractor is saved beside it
    assert torch.equal(encoder(samples), model.wav2vec2(samples).last_hidden_state)


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="expected a directory with a transformers model"):
        AudioEncoder.from_pretrained(tmp_path / "missing", layer=1)
    random_model("hubert", VARIANTS[0]).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"a layer of 0\.\.3, received 4"):
        AudioEncoder.from_pretrained(tmp_path, layer=4)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BundleNotFoundError, match="its weights are not there"):
        AudioEncoder.from_pretrained(tmp_path, layer=1)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="received 'bert'"):
        AudioEncoder.from_pretrained(tmp_path, layer=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "whisper"}, "received 'whisper'"),
        ({"layer": 9}, r"0\.\.3, received 9"),
        ({"layer": True}, "whole number"),
        ({"layer": "2"}, "whole number"),
        ({"normalize": 1}, "true or false"),
        ({"config": {**SIZES, "hidden_size": 15}}, "encoder:"),
    ],
)
def test_configs_that_make_no_encoder(change: dict[str, object], message: str) -> None:
    fields = {"architecture": "wav2vec2", "layer": 1, "normalize": True, "config": SIZES} | change
    with pytest.raises(ConfigError, match=message):
        EncoderConfig(**fields).build()
