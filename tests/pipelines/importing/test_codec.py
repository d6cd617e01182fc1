"""Codes and sound of imported codecs against transformers' own models: none differ."""

import json

import numpy as np
import pytest
import soundfile
import torch
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel

from dvse.audio.loading import load_audio_tokenizer
from dvse.errors import (
    BundleNotFoundError,
    ConfigError,
    IdRangeError,
    UnsafeFileError,
    WeightsFormatError,
)
from dvse.items import Audio
from dvse.storage.part import Part
from pipelines.cli import main
from pipelines.importing.codec import import_codec

KINDS = {
    "mimi": (
        MimiModel,
        MimiConfig,
        {
            "sampling_rate": 8000,
            "num_filters": 4,
            "hidden_size": 32,
            "upsampling_ratios": [5, 4, 2],
            "frame_rate": 100,
            "codebook_size": 32,
            "codebook_dim": 16,
            "vector_quantization_hidden_dimension": 16,
            "num_quantizers": 5,
            "upsample_groups": 32,
            "num_hidden_layers": 1,
            "intermediate_size": 32,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "sliding_window": 40,
        },
    ),
    "dac": (
        DacModel,
        DacConfig,
        {
            "sampling_rate": 8000,
            "encoder_hidden_size": 4,
            "downsampling_ratios": [2, 4, 5],
            "decoder_hidden_size": 32,
            "n_codebooks": 5,
            "codebook_size": 32,
            "codebook_dim": 4,
        },
    ),
    "encodec": (
        EncodecModel,
        EncodecConfig,
        {
            "sampling_rate": 8000,
            "num_filters": 4,
            "hidden_size": 16,
            "upsampling_ratios": [5, 4, 2],
            "codebook_size": 32,
            "num_lstm_layers": 1,
            "target_bandwidths": [1.0, 3.0, 5.0],
        },
    ),
}
RATE, HOP = 8000, {"mimi": 80, "dac": 40, "encodec": 40}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def models():
    found = {}
    for kind, (model_class, config_class, fields) in KINDS.items():
        torch.manual_seed(4)
        model = model_class(config_class(**fields)).eval()
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if name.endswith("codebook.weight"):
                    value.copy_(torch.randn_like(value))
                elif name.endswith("layer_scale.scale") or "norm" in name:
                    value.add_(0.1 * torch.randn_like(value))
            if kind != "dac":  # codes where features are, each level finer than the one before
                noise = 0.5 * torch.randn(1, 1, 32 * HOP[kind])
                for number, layer in enumerate(layers(kind, model)):
                    book = 0.5**number * centred(kind, model, noise, layer)
                    name = "embed_sum" if kind == "mimi" else "embed"
                    getattr(layer.codebook, name).copy_(book)
        found[kind] = model
    return found


def layers(kind, model):
    if kind == "encodec":
        return list(model.quantizer.layers)
    split = model.quantizer
    return [
        *split.semantic_residual_vector_quantizer.layers,
        *split.acoustic_residual_vector_quantizer.layers,
    ]


def centred(kind, model, noise, layer):
    """Features of noise on the first level, and what is left of them on the others."""
    if kind == "encodec":
        features = model.encoder(noise)[0].T
        return features if layer is model.quantizer.layers[0] else features - features.mean(0)
    split = model.quantizer
    semantic = split.semantic_residual_vector_quantizer
    acoustic = split.acoustic_residual_vector_quantizer
    half = semantic if layer in semantic.layers else acoustic
    features = half.input_proj(model.encoder(noise).latents)[0].T
    return features if layer is half.layers[0] else features - features.mean(0)


@pytest.fixture(scope="module")
def folders(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codecs")
    for kind, model in models.items():
        model.save_pretrained(folder / kind)
    return {kind: folder / kind for kind in models}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(3)
    for number, count in enumerate([4000, 4001, 4039, 4080, 12_345, 40]):
        times = np.arange(count) / RATE
        tone = np.sin(2 * np.pi * (200 + 90 * number) * times * (1 + 0.2 * times))
        soundfile.write(
            folder / f"{number}.wav", 0.4 * tone + 0.1 * rng.standard_normal(count), RATE, "FLOAT"
        )
    return sorted(folder.iterdir())


@torch.inference_mode()
def reference(kind, model, samples, num_levels):
    """The model's own `encode`, with what its feature extractor does before it."""
    values = torch.from_numpy(samples)[None, None]
    if kind == "mimi":
        return model.encode(values, num_quantizers=num_levels).audio_codes[0].T.numpy()
    if kind == "dac":
        values = torch.nn.functional.pad(values, (0, -len(samples) % HOP[kind]))
        return model.encode(values, n_quantizers=num_levels).audio_codes[0].T.numpy()
    bandwidth = {1: 1.0, 3: 3.0, 5: 5.0}[num_levels]  # 200 frames of 5 bits are 1 kbit/s a level
    return model.encode(values, bandwidth=bandwidth).audio_codes[0, 0].T.numpy()


def tokenizer_of(folders, kind, tmp_path, **options):
    part = import_codec(folders[kind], tmp_path / f"part-{kind}", **options)
    return load_audio_tokenizer(part.spec, part.folder)


@every_kind
@pytest.mark.parametrize("num_levels", [1, 3, 5])
def test_no_code_differs(models, folders, recordings, tmp_path, kind, num_levels):
    tokenizer = tokenizer_of(folders, kind, tmp_path, num_levels=num_levels, chunk_s=10)
    assert (tokenizer.num_levels, tokenizer.num_codes) == (num_levels, 32)
    assert tokenizer.frame_rate_hz == RATE / HOP[kind]
    seen = set()
    for path in recordings:
        samples = soundfile.read(path, dtype="float32")[0]
        (chunk,) = tokenizer.preparer.prepare(Audio(path))
        (codes,) = tokenizer.encode([chunk])
        wanted = reference(kind, models[kind], samples, num_levels)
        assert codes.shape == (-(-len(samples) // HOP[kind]), num_levels)
        assert chunk.keep == (0, len(codes))
        assert (codes == wanted).all()
        assert (tokenizer.quantize(tokenizer.embed([chunk]))[0] == codes).all()
        seen |= {tuple(row) for row in codes}
    assert len(seen) > 5


@every_kind
def test_the_way_back_is_the_models_own(models, folders, recordings, tmp_path, kind):
    tokenizer = tokenizer_of(folders, kind, tmp_path, num_levels=3, chunk_s=10)
    (chunk,) = tokenizer.preparer.prepare(Audio(recordings[1]))
    (codes,) = tokenizer.encode([chunk])
    sound = tokenizer.decode(codes)
    levels = torch.from_numpy(codes.astype(np.int64)).T[None]
    with torch.inference_mode():
        if kind == "encodec":
            wanted = models[kind].decode(levels[None], [None]).audio_values
        else:
            wanted = models[kind].decode(audio_codes=levels).audio_values
    assert sound.dtype == np.float32
    assert abs(len(sound) - len(codes) * HOP[kind]) < 10  # DAC's odd strides lose some
    np.testing.assert_allclose(sound, wanted.flatten()[: len(sound)], atol=1e-5)
    assert np.ptp(sound) > 0
    with pytest.raises(IdRangeError, match=r"\[frames, 3\]"):
        tokenizer.decode(codes[:, :2])
    with pytest.raises(IdRangeError, match=r"0\.\.31"):
        tokenizer.decode(codes + 32)


@every_kind
def test_neighbours_and_cuts(folders, recordings, tmp_path, kind):
    """Together as alone; a long recording is its stretches, one after the other."""
    tokenizer = tokenizer_of(folders, kind, tmp_path, num_levels=3, chunk_s=0.5)
    chunks = [c for path in recordings for c in tokenizer.preparer.prepare(Audio(path))]
    alone = [tokenizer.encode([chunk])[0] for chunk in chunks]
    for one, many in zip(alone, tokenizer.encode(chunks), strict=True):
        assert (one == many).all()
    lengths = [len(c.data) for c in tokenizer.preparer.prepare(Audio(recordings[4]))]
    assert lengths == [4000, 4000, 4000, 345]
    frames = sum(len(a) for a, c in zip(alone, chunks, strict=True) if len(c.data) == 345)
    assert frames == -(-345 // HOP[kind])


def test_a_bundle_has_a_block_for_each_level_and_gives_sound(
    folders, recordings, tmp_path, monkeypatch
):
    import dvse
    from dvse.storage.finding import find_bundle
    from pipelines.evaluation.evaluation import evaluate
    from pipelines.training.bundle_building import build_bundle

    import_codec(folders["dac"], tmp_path / "part", num_levels=3, chunk_s=10, licence="MIT")
    tiny = find_bundle("tiny")
    text = Part(modality="text", folder=tmp_path / "text", spec={"type": "sentencepiece"})
    text.save()
    (tmp_path / "text" / "spiece.model").write_bytes((tiny / "text" / "spiece.model").read_bytes())
    parts = {"text": tmp_path / "text", "audio": tmp_path / "part"}
    bundle = build_bundle(tmp_path / "bundle", parts=parts)
    blocks = [(b.name, b.level, b.size) for b in bundle.vocabulary.blocks if b.name == "audio"]
    assert blocks == [("audio", level, 32) for level in range(3)]
    tokenizer = dvse.load(tmp_path / "bundle")
    encoding = tokenizer.encode(dvse.Audio(recordings[0]))
    assert len(encoding) == 2 + 3 * 100 and encoding.num_levels == 3
    (segment,) = tokenizer.decode(encoding.ids)
    assert segment.units.shape == (100, 3)
    assert segment.samples.shape == (3992,) and segment.sample_rate_hz == RATE
    (segment,) = tokenizer.decode(encoding.ids, render=False)
    assert segment.samples is None
    monkeypatch.setattr("pipelines.evaluation.evaluation.read_layout", lambda *_: {"audio": None})
    with pytest.raises(ConfigError, match="codes of a codec have none"):
        evaluate(tokenizer, tmp_path, thresholds={})


def test_the_command_and_what_it_refuses(folders, tmp_path, capsys):
    words = ["import", "codec", str(folders["mimi"]), "--output", str(tmp_path / "part")]
    assert main(words) == 2
    assert "say --num-levels N" in capsys.readouterr().err
    assert main([*words, "--num-levels", "3", "--chunk-s", "2"]) == 0
    assert "3 levels of mimi" in capsys.readouterr().out
    part = Part.load(tmp_path / "part", modality="audio")
    assert part.spec["windows"] == {"chunk_samples": 16_000}
    assert part.provenance["weights"]["file"] == "model.safetensors"


def test_bad_sources(models, folders, tmp_path):
    def importing(folder, num_levels=3):
        import_codec(folder, tmp_path / "part", num_levels=num_levels, chunk_s=1)

    for kind in KINDS:
        with pytest.raises(ConfigError, match=r"num_levels of 1\.\.\d+, those of the codec"):
            importing(folders[kind], num_levels=6)
    with pytest.raises(BundleNotFoundError, match=r"config\.json"):
        importing(tmp_path / "nowhere")
    bad = tmp_path / "bad"
    bad.mkdir()
    config = (folders["dac"] / "config.json").read_text()
    (bad / "config.json").write_text(config)
    with pytest.raises(BundleNotFoundError, match=r"model\.safetensors or"):
        importing(bad)
    data = (folders["dac"] / "model.safetensors").read_bytes()
    (bad / "model.safetensors").write_bytes(data[:4000])
    with pytest.raises(WeightsFormatError, match="expected a safetensors file, whole"):
        importing(bad)
    (bad / "model.safetensors").write_bytes(data)
    (bad / "config.json").write_text("{")
    with pytest.raises(WeightsFormatError, match="JSON"):
        importing(bad)
    (bad / "config.json").write_text(json.dumps({"model_type": "bark"}))
    with pytest.raises(WeightsFormatError, match="codec among mimi, dac, encodec"):
        importing(bad)
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="expected a chunk_s above 0"):
            import_codec(folders["dac"], tmp_path / "part", num_levels=3, chunk_s=seconds)
    tensors = dict(models["dac"].state_dict())
    name = "decoder.conv1.bias"
    (bad / "config.json").write_text(config)
    (bad / "model.safetensors").unlink()
    for value, message in (
        (None, f"such as '{name}'; is it whole"),
        (torch.zeros(3), rf"says \[32\] of tensor '{name}', received \[3\]"),
    ):
        others = {n: t for n, t in tensors.items() if n != name}
        torch.save(others | ({} if value is None else {name: value}), bad / "pytorch_model.bin")
        with pytest.raises(WeightsFormatError, match=message):
            importing(bad)
    torch.save({"x": print}, bad / "pytorch_model.bin")
    with pytest.raises(UnsafeFileError, match="which was not run"):
        importing(bad)
    model = DacModel(models["dac"].config)
    with torch.no_grad():
        model.encoder.conv1.bias.fill_(torch.nan)
    model.save_pretrained(tmp_path / "nan")
    with pytest.raises(WeightsFormatError, match="NaN"):
        importing(tmp_path / "nan")
    assert not (tmp_path / "part").exists() and not list(tmp_path.glob(".part*"))


@pytest.mark.parametrize(
    ("kind", "field", "fewer"),
    [("mimi", "num_hidden_layers", 1), ("mimi", "num_quantizers", 3), ("dac", "n_codebooks", 2)],
)
def test_a_config_that_counts_fewer_than_the_file_holds(tmp_path, kind, field, fewer):
    """transformers drops the rest, and codes would be those of another codec."""
    model_class, config_class, fields = KINDS[kind]
    torch.manual_seed(0)
    model = model_class(config_class(**{**fields, field: fewer + 1})).eval()
    model.save_pretrained(tmp_path / "codec")
    path = tmp_path / "codec" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: fewer}))
    with pytest.raises(WeightsFormatError, match="have no place in what its config"):
        import_codec(tmp_path / "codec", tmp_path / "part", num_levels=1, chunk_s=1)
    assert not (tmp_path / "part").exists()
