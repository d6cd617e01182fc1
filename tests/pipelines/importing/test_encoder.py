"""Checkpoints of other libraries give the same features under transformers' names."""

import argparse
import copy
import json
import re
import subprocess

import pytest
import torch
from torchaudio.models.wav2vec2.model import wav2vec2_model
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from dvse.audio.encoder import AudioEncoder
from dvse.audio.published_encoder import recorded_rate_hz
from dvse.errors import ConfigError, UnsafeFileError, WeightsFormatError
from pipelines.importing.encoder import EncoderFacts, import_encoder

PLAN = [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
POSITION = "encoder.pos_conv_embed.conv"
SAMPLES = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))


def random_model(kind, config_class, *, large):
    torch.manual_seed(2)
    norm = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    model = kind(config_class(**SIZES, **(norm if large else {}))).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms that do something
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


# fairseq's names, written out from its modules; the code under test goes the other way.
def fairseq_names(model):
    names = {}
    for name, tensor in model.state_dict().items():
        new = name
        if match := re.match(
            r"feature_extractor\.conv_layers\.(\d+)\.(conv|layer_norm)\.(\w+)", name
        ):
            number, inner, end = match.groups()
            is_layer = model.config.feat_extract_norm == "layer"
            place = "0" if inner == "conv" else "2.1" if is_layer else "2"
            new = f"feature_extractor.conv_layers.{number}.{place}.{end}"
        for old, other in (
            ("feature_projection.projection", "post_extract_proj"),
            ("feature_projection.layer_norm", "layer_norm"),
            ("masked_spec_embed", "mask_emb"),
            (
                "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
                "encoder.pos_conv.0.weight_g",
            ),
            (
                "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
                "encoder.pos_conv.0.weight_v",
            ),
            ("encoder.pos_conv_embed.conv.bias", "encoder.pos_conv.0.bias"),
        ):
            if name.startswith(old):
                new = other + name[len(old) :]
        if name.startswith("encoder.layers."):
            for old, other in (
                (".layer_norm.", ".self_attn_layer_norm."),
                (".attention.rel_attn_embed", ".self_attn.relative_attention_bias"),
                (".attention.gru_rel_pos_linear", ".self_attn.grep_linear"),
                (".attention.gru_rel_pos_const", ".self_attn.grep_a"),
                (".attention.", ".self_attn."),
                (".feed_forward.intermediate_dense.", ".fc1."),
                (".feed_forward.output_dense.", ".fc2."),
            ):
                new = new.replace(old, other)
        names[new] = tensor.clone()
    return names


def features(folder, layer=2):
    encoder = AudioEncoder.from_pretrained(folder, layer=layer, normalize=False)
    with torch.inference_mode():
        return encoder(SAMPLES)


def wanted(model, layer=2):
    with torch.inference_mode():
        output = model(SAMPLES, output_hidden_states=True)
    # Releases of transformers differ in whether the last of them has passed the final norm.
    is_last = layer == model.config.num_hidden_layers
    return output.last_hidden_state if is_last else output.hidden_states[layer]


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
@pytest.mark.parametrize("settings", ["namespace", "none"])
def test_fairseq_hubert(tmp_path, large, settings):
    model = random_model(HubertModel, HubertConfig, large=large)
    tensors = fairseq_names(model) | {
        "label_embs_concat": torch.zeros(3, 4),
        "final_proj.weight": torch.zeros(4, 32),
        "final_proj.bias": torch.zeros(4),
    }
    content = {"model": tensors, "optimizer_history": [{"num_updates": 3}]}
    facts = EncoderFacts(normalize=large, pre_norm=large, num_heads=4)
    if settings == "namespace":  # as fairseq leaves it: the settings are an object of argparse
        content["args"] = argparse.Namespace(
            encoder_attention_heads=4,
            layer_norm_first=large,
            normalize=large,
            conv_feature_layers="[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
        )
        facts = EncoderFacts()
    torch.save(content, tmp_path / "hubert.pt")
    folder = import_encoder(tmp_path / "hubert.pt", tmp_path / "out", facts=facts)
    assert torch.equal(features(folder), wanted(model))
    assert AudioEncoder.from_pretrained(folder, layer=1).config.normalize is large
    assert AudioEncoder.from_pretrained(folder, layer=1).config.architecture == "hubert"


def test_fairseq_wavlm(tmp_path):
    model = random_model(WavLMModel, WavLMConfig, large=False)
    torch.save(
        {
            "model": fairseq_names(model),
            "cfg": {"layer_norm_first": False, "normalize": False, "encoder_attention_heads": 4},
        },
        tmp_path / "wavlm.pt",
    )
    folder = import_encoder(tmp_path / "wavlm.pt", tmp_path / "out")
    assert torch.allclose(features(folder), wanted(model), atol=1e-6)


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_torchaudio_itself(tmp_path, large):
    torch.manual_seed(4)
    peer = wav2vec2_model(
        extractor_mode="layer_norm" if large else "group_norm",
        extractor_conv_layer_config=PLAN,
        extractor_conv_bias=large,
        encoder_embed_dim=32,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=16,
        encoder_pos_conv_groups=4,
        encoder_num_layers=2,
        encoder_num_heads=4,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=48,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=large,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    ).eval()
    torch.save(peer.state_dict(), tmp_path / "peer.pth")
    facts = EncoderFacts(normalize=False, pre_norm=large, num_heads=4)
    folder = import_encoder(tmp_path / "peer.pth", tmp_path / "out", facts=facts)
    with torch.inference_mode():
        layers, _ = peer.extract_features(SAMPLES)
    for layer, peers in enumerate(layers, start=1):
        found = AudioEncoder.from_pretrained(folder, layer=layer, normalize=False, final_norm=False)
        with torch.inference_mode():
            assert torch.allclose(found(SAMPLES), peers, atol=1e-5)


@pytest.mark.parametrize("prefix", ["model.", "wav2vec2.", "model.wav2vec2."])
def test_a_state_dict_under_a_prefix(tmp_path, prefix):
    model = random_model(Wav2Vec2Model, Wav2Vec2Config, large=False)
    tensors = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    tensors["lm_head.weight"] = torch.zeros(5, 32)
    torch.save(tensors, tmp_path / "model.ckpt")
    facts = EncoderFacts(normalize=True, pre_norm=False, num_heads=4)
    folder = import_encoder(tmp_path / "model.ckpt", tmp_path / "out", facts=facts)
    assert torch.equal(features(folder), wanted(model))


@pytest.mark.parametrize("form", ["safetensors", "several", "bin"])
def test_a_directory_of_transformers(tmp_path, form):
    model = random_model(HubertModel, HubertConfig, large=True)
    source = tmp_path / "source"
    model.save_pretrained(source, max_shard_size="20KB" if form == "several" else "5GB")
    assert (source / "model.safetensors.index.json").is_file() == (form == "several")
    extractor = {"do_normalize": True, "sampling_rate": 8000}
    (source / "preprocessor_config.json").write_text(json.dumps(extractor))
    if form == "bin":
        torch.save(model.state_dict(), source / "pytorch_model.bin")
        (source / "model.safetensors").unlink()
    folder = import_encoder(source, tmp_path / "out")
    assert torch.equal(features(folder), wanted(model))
    assert AudioEncoder.from_pretrained(folder, layer=1).config.normalize is True
    assert recorded_rate_hz(str(folder)) == 8000


def test_what_stands_nowhere_is_asked_for(tmp_path):
    model = random_model(HubertModel, HubertConfig, large=False)
    torch.save({"model": fairseq_names(model)}, tmp_path / "hubert.pt")
    with pytest.raises(ConfigError, match=r"--normalize yes\|no .* and --pre-norm yes\|no"):
        import_encoder(tmp_path / "hubert.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Runs:
    def __reduce__(self):
        return subprocess.check_output, (["touch", "was-run"],)


def test_code_in_a_checkpoint_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = random_model(HubertModel, HubertConfig, large=False)
    torch.save({"model": fairseq_names(model), "args": Runs()}, "hubert.pt")
    with pytest.raises(UnsafeFileError, match="check_output"):
        import_encoder(tmp_path / "hubert.pt", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hubert.pt"]


def test_tensors_that_do_not_fit(tmp_path):
    model = random_model(HubertModel, HubertConfig, large=False)
    facts = EncoderFacts(normalize=False, pre_norm=False, num_heads=4)
    whole = fairseq_names(model)

    def importing(tensors):
        torch.save({"model": tensors}, tmp_path / "hubert.pt")
        import_encoder(tmp_path / "hubert.pt", tmp_path / "out", facts=facts)

    cut = copy.copy(whole)
    del cut["encoder.layers.1.fc1.weight"]
    with pytest.raises(WeightsFormatError, match=r"missing .*layers\.1\.feed_forward"):
        importing(cut)
    with pytest.raises(WeightsFormatError, match=r"no place in one: encoder\.surprise"):
        importing(whole | {"encoder.surprise": torch.zeros(1)})
    with pytest.raises(WeightsFormatError, match="expected a Wav2Vec2"):
        importing({"a": torch.zeros(1)})
    (tmp_path / "hubert.pt").write_bytes((tmp_path / "hubert.pt").read_bytes()[:99])
    with pytest.raises(WeightsFormatError, match="whole"):
        import_encoder(tmp_path / "hubert.pt", tmp_path / "out", facts=facts)
    assert not (tmp_path / "out").exists()
