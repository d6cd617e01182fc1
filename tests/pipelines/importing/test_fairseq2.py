"""seamless_communication's speech units: fairseq2's layout, its layers, its nearest centroids."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peers import run_in
from transformers import Wav2Vec2Config, Wav2Vec2Model

from dvse.audio.encoder import AudioEncoder
from dvse.audio.loading import load_audio_tokenizer
from dvse.errors import ConfigError, WeightsFormatError
from dvse.items import Audio
from pipelines.importing.encoder import EncoderFacts, import_encoder
from pipelines.importing.units import UnitSettings, import_units

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
# fairseq2's names, one by one, in transformers' order of modules.
NAMES = (
    ("feature_extractor.conv_layers.0.layer_norm.", "F.feature_extractor.layers.0.{n}_norm."),
    ("feature_extractor.conv_layers.", "F.feature_extractor.layers."),
    ("feature_projection.layer_norm.", "F.post_extract_layer_norm."),
    ("feature_projection.projection.", "F.model_dim_proj."),
    (
        "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
        "F.pos_encoder.conv.weight_g",
    ),
    (
        "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
        "F.pos_encoder.conv.weight_v",
    ),
    ("encoder.pos_conv_embed.", "F.pos_encoder."),
    ("encoder.layer_norm.", "{last}layer_norm."),
    (".attention.out_proj.", ".self_attn.output_proj."),
    (".attention.", ".self_attn."),
    (".layer_norm.", ".self_attn_layer_norm."),
    (".feed_forward.intermediate_dense.", ".ffn.inner_proj."),
    (".feed_forward.output_dense.", ".ffn.output_proj."),
    (".final_layer_norm.", ".ffn_layer_norm."),
)


def fairseq2_name(name, large):
    for old, new in NAMES:
        if old in name and not (old == ".layer_norm." and "conv_layers" in name):
            new = new.format(n="layer" if large else "group", last="encoder." if large else "F.")
            return name.replace(old, new).replace("F.", "encoder_frontend.")
    raise AssertionError(name)


def model_of(large):
    torch.manual_seed(0)
    pre_norm = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
    return Wav2Vec2Model(Wav2Vec2Config(**SMALL, **(pre_norm if large else {}))).eval()


def write(model, path, *, large, prefix=""):
    tensors = {
        prefix + fairseq2_name(name, large): tensor
        for name, tensor in model.state_dict().items()
        if name != "masked_spec_embed"
    }
    beside = {"masker.temporal_mask_embed": torch.zeros(32), "quantizer.entries": torch.zeros(2, 2)}
    torch.save({"model": tensors | {prefix + n: t for n, t in beside.items()}}, path)


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_every_tensor_finds_its_place(tmp_path, large):
    model = model_of(large)
    write(model, tmp_path / "a.pt", large=large, prefix="module." if large else "")
    # Whether norms come first need not be said: the last norm's place says it.
    facts = EncoderFacts(normalize=True, num_heads=4)
    folder = import_encoder(tmp_path / "a.pt", tmp_path / "out", facts=facts)
    samples = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = model(samples, output_hidden_states=True).hidden_states[1]
        encoder = AudioEncoder.from_pretrained(folder, layer=1, normalize=False)
        assert torch.equal(encoder(samples), wanted)


def test_what_it_does_not_say_and_what_has_no_place(tmp_path):
    model = model_of(True)
    write(model, tmp_path / "a.pt", large=True)
    content = torch.load(tmp_path / "a.pt")
    content["model"]["encoder.layers.0.conv.depthwise.weight"] = torch.zeros(2)
    torch.save(content, tmp_path / "conformer.pt")
    facts = EncoderFacts(normalize=True, num_heads=4)
    with pytest.raises(WeightsFormatError, match=r"no place in one: encoder\.layers\.0\.conv"):
        import_encoder(tmp_path / "conformer.pt", tmp_path / "out", facts=facts)
    wide = Wav2Vec2Model(Wav2Vec2Config(**(SMALL | {"hidden_size": 1280})))
    write(wide, tmp_path / "wide.pt", large=False)
    with pytest.raises(ConfigError, match="how many attention heads its 1280 channels have"):
        import_encoder(tmp_path / "wide.pt", tmp_path / "out", facts=EncoderFacts(normalize=True))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["base", "large"])
def test_no_unit_of_fairseq2_itself_differs(tmp_path, kind):
    rng = np.random.default_rng(0)
    samples = (0.2 * rng.standard_normal(48_000)).astype(np.float32)
    np.save(tmp_path / "samples.npy", samples)
    np.save(tmp_path / "centroids.npy", rng.standard_normal((40, 32)).astype(np.float32))
    script = Path(__file__).parent / "peers" / "write_fairseq2.py"
    run_in("fairseq2", script, tmp_path)
    for number in range(3):
        part = import_units(
            tmp_path / f"part-{number}",
            centroids=tmp_path / "centroids.npy",
            encoder=tmp_path / f"{kind}.pt",
            layer=number + 1,  # `out_layer_idx` counts from 0
            convention="seamless",
            settings=UnitSettings(),
            facts=EncoderFacts(num_heads=4),
        )
        media = load_audio_tokenizer(part.spec, part.folder)
        (chunk,) = media.preparer.prepare(Audio(samples, sample_rate_hz=16_000))
        (features,), (codes,) = media.embed([chunk]), media.encode([chunk])
        theirs = np.load(tmp_path / f"{kind}-{number}.npy")
        np.testing.assert_allclose(features, theirs, atol=2e-5 * np.abs(theirs).max())
        assert codes[:, 0].tolist() == np.load(tmp_path / f"{kind}-{number}-units.npy").tolist()
        assert len(set(codes[:, 0].tolist())) > 3
