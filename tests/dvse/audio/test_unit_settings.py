"""Settings that decide units: each against an independent computation with transformers alone."""

import copy

import numpy as np
import pytest
import torch
import torchaudio
from sklearn.cluster import KMeans
from torch.nn import functional as F
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from dvse.audio import preparer as preparer_module
from dvse.audio.encoder import AudioEncoder
from dvse.audio.sample_chunks import SampleChunks
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.unit_stream import UnitStream
from dvse.audio.windows import FrameGrid, Windowing
from dvse.codebook import Codebook
from dvse.errors import BundleFormatError, ConfigError, DecodeError, InputError, TooShortError
from dvse.items import Audio

RATE = 16_000
GRID = FrameGrid(stride=320, reach=400)


def hubert(*, pre_norm: bool) -> HubertModel:
    torch.manual_seed(1)
    config = HubertConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer" if pre_norm else "group",
        do_stable_layer_norm=pre_norm,
    )
    return HubertModel(config).eval()


def fit(features: np.ndarray) -> KMeans:
    return KMeans(12, n_init=1, random_state=0).fit(features)


def tokenizer_of(encoder: AudioEncoder, kmeans: KMeans, **options) -> AudioTokenizer:
    return AudioTokenizer(
        encoder=encoder,
        codebook=Codebook(torch.from_numpy(kmeans.cluster_centers_).float()[None]),
        sample_rate_hz=RATE,
        **{"windowing": SampleChunks(chunk_samples=100 * RATE)} | options,
    )


def units(tokenizer: AudioTokenizer, samples: np.ndarray) -> np.ndarray:
    chunks = list(tokenizer.preparer.prepare(Audio(samples, sample_rate_hz=RATE)))
    return np.concatenate([codes[:, 0] for codes in tokenizer.encode(chunks)])


def sound(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    times = np.arange(int(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * (200 + 150 * np.sin(2 * np.pi * 0.7 * times)) * times)
    return (0.2 * tone + 0.05 * rng.standard_normal(len(times))).astype(np.float32)


@torch.inference_mode()
def test_chunks_are_those_of_fairseqs_reader():
    model, samples = hubert(pre_norm=False), sound(7.3)
    chunk = 2 * RATE
    features = [  # as fairseq's simple_kmeans reads: `for start in range(0, len, max_chunk)`
        model(torch.from_numpy(samples[start : start + chunk])[None], output_hidden_states=True)
        .hidden_states[2][0]
        .numpy()
        for start in range(0, len(samples), chunk)
    ]
    kmeans = fit(np.concatenate(features))
    encoder = AudioEncoder.of(copy.deepcopy(model), layer=2, normalize=False)
    tokenizer = tokenizer_of(encoder, kmeans, windowing=SampleChunks(chunk_samples=chunk))
    found = units(tokenizer, samples)
    assert len(found) == 3 * 99 + GRID.num_frames(len(samples) - 3 * chunk)
    assert (found == kmeans.predict(np.concatenate(features))).all()


@torch.inference_mode()
def test_forty_zeros_at_each_end_make_fifty_frames_a_second():
    model, samples = hubert(pre_norm=False), sound(2.0)
    padded = F.pad(torch.from_numpy(samples), (40, 40))
    features = model(padded[None], output_hidden_states=True).hidden_states[3][0].numpy()
    kmeans = fit(features)
    encoder = AudioEncoder.of(copy.deepcopy(model), layer=3, normalize=False)
    found = units(tokenizer_of(encoder, kmeans, pad_samples=40), samples)
    assert len(found) == 100
    assert (found == kmeans.predict(features)).all()


@torch.inference_mode()
def test_the_last_layer_with_and_without_its_final_norm():
    model, samples = hubert(pre_norm=True), sound(3.0)
    with torch.no_grad():  # a norm that does something
        model.encoder.layer_norm.weight.mul_(3).add_(torch.linspace(0, 1, 32))
    before_norm = []
    handle = model.encoder.layers[-1].register_forward_hook(
        lambda module, given, result: before_norm.append(
            result[0] if isinstance(result, tuple) else result
        )
    )
    after_norm = model(torch.from_numpy(samples)[None]).last_hidden_state[0].numpy()
    handle.remove()
    for final_norm, features in ((True, after_norm), (False, before_norm[0][0].numpy())):
        encoder = AudioEncoder.of(
            copy.deepcopy(model), layer=3, normalize=False, final_norm=final_norm
        )
        kmeans = fit(features)
        found = units(tokenizer_of(encoder, kmeans), samples)
        assert (found == kmeans.predict(features)).all()


@torch.inference_mode()
def test_the_variance_floor_of_fairseq():
    model = hubert(pre_norm=False)
    samples = 0.004 * sound(2.0)  # quiet: the floor matters
    encoder = AudioEncoder.of(copy.deepcopy(model), layer=1, normalize=True, variance_floor=1e-5)
    normalized = F.layer_norm(torch.from_numpy(samples), samples.shape)
    wanted = model(normalized[None], output_hidden_states=True).hidden_states[1]
    found = encoder(torch.from_numpy(samples)[None])
    assert torch.allclose(found, wanted, atol=1e-5)
    plain = AudioEncoder.of(copy.deepcopy(model), layer=1, normalize=True)
    assert not torch.allclose(plain(torch.from_numpy(samples)[None]), wanted, atol=1e-5)


@pytest.mark.parametrize("rate_hz", [RATE, 44_100])
def test_a_whole_recording_is_scaled_before_it_is_cut(rate_hz):
    """As transformers' feature extractor does, then fairseq's reader with its chunks."""
    model, chunk = hubert(pre_norm=True), 2 * RATE
    times = np.arange(int(7.3 * rate_hz)) / rate_hz
    loudness, mean = np.where(times < 3, 0.02, 0.5), np.where(times < 3, 0.2, -0.1)
    samples = (loudness * np.sin(2 * np.pi * 300 * times) + mean).astype(np.float32)
    samples += 0.01 * np.random.default_rng(0).standard_normal(len(times)).astype(np.float32)
    at_rate = torch.from_numpy(samples)
    if rate_hz != RATE:
        at_rate = torchaudio.functional.resample(at_rate, rate_hz, RATE)
    scaled = Wav2Vec2FeatureExtractor(do_normalize=True)(
        at_rate.numpy(), sampling_rate=RATE, return_tensors="pt"
    ).input_values
    with torch.inference_mode():
        features = [
            model(scaled[:, start : start + chunk], output_hidden_states=True)
            .hidden_states[2][0]
            .numpy()
            for start in range(0, scaled.shape[1], chunk)
        ]
    kmeans = fit(np.concatenate(features))
    wanted = kmeans.predict(np.concatenate(features))

    def found(over):
        encoder = AudioEncoder.of(
            copy.deepcopy(model), layer=2, normalize=True, normalize_over=over
        )
        plan = SampleChunks(chunk_samples=chunk)
        tokenizer = tokenizer_of(encoder, kmeans, windowing=plan)
        chunks = list(tokenizer.preparer.prepare(Audio(samples, sample_rate_hz=rate_hz)))
        return np.concatenate([codes[:, 0] for codes in tokenizer.encode(chunks)])

    assert (found("recording") == wanted).all()
    assert (found("window") != wanted).any()


def test_a_recording_scaled_as_a_whole_is_no_stream_and_does_not_change_meanwhile(monkeypatch):
    encoder = AudioEncoder.of(
        hubert(pre_norm=False), layer=2, normalize=True, normalize_over="recording"
    )
    plan = Windowing(window_frames=50, hop_frames=40)
    book = Codebook(torch.randn(1, 4, 32))
    tokenizer = AudioTokenizer(encoder=encoder, codebook=book, sample_rate_hz=RATE, windowing=plan)
    with pytest.raises(InputError, match="does not know yet; tokenise the finished recording"):
        UnitStream(tokenizer, tokenizer.preparer, RATE)
    growing = iter([sound(1.0), sound(2.0)])
    real = preparer_module.opened
    monkeypatch.setattr(
        preparer_module, "opened", lambda item, **how: real(Audio(next(growing), RATE), **how)
    )
    with pytest.raises(DecodeError, match="16000 samples when it was measured and 32000"):
        units(tokenizer, sound(1.0))


def test_scaling_is_written_into_a_part_and_needs_normalize(tmp_path):
    config = hubert(pre_norm=False)
    encoder = AudioEncoder.of(config, layer=2, normalize=True, normalize_over="recording")
    tokenizer = AudioTokenizer(
        encoder=encoder,
        codebook=Codebook(torch.randn(1, 4, 32)),
        sample_rate_hz=RATE,
        windowing=Windowing(window_frames=50, hop_frames=40),
    )
    tokenizer.save_files(tmp_path)
    spec = tokenizer.spec()
    assert spec["encoder"]["normalize_over"] == "recording"
    loaded = AudioTokenizer.from_spec(spec, tmp_path)
    assert loaded.spec() == spec
    assert (units(loaded, sound(3)) == units(tokenizer, sound(3))).all()
    for change in ({"normalize": False}, {"normalize_over": "file"}):
        bad = {**spec, "encoder": {**spec["encoder"], **change}}
        with pytest.raises(BundleFormatError, match="normalize_over"):
            AudioTokenizer.from_spec(bad, tmp_path)


def test_settings_survive_saving_and_defaults_are_not_written(tmp_path):
    encoder = AudioEncoder.of(
        hubert(pre_norm=True), layer=3, normalize=True, variance_floor=1e-5, final_norm=False
    )
    codebook = Codebook(torch.randn(1, 4, 32))
    full = AudioTokenizer(
        encoder=encoder,
        codebook=codebook,
        sample_rate_hz=RATE,
        windowing=SampleChunks(chunk_samples=32_000),
        pad_samples=40,
    )
    full.save_files(tmp_path)
    spec = full.spec()
    loaded = AudioTokenizer.from_spec(spec, tmp_path)
    assert loaded.spec() == spec
    assert (units(loaded, sound(3)) == units(full, sound(3))).all()
    assert loaded.encoder.config.final_norm is False
    plain = AudioTokenizer(
        encoder=AudioEncoder.of(hubert(pre_norm=False), layer=3, normalize=True),
        codebook=codebook,
        sample_rate_hz=RATE,
        windowing=Windowing(window_frames=50, hop_frames=40),
    ).spec()
    assert "pad_samples" not in plain
    assert not {"variance_floor", "final_norm"} & set(plain["encoder"])
    with pytest.raises(BundleFormatError, match="chunk_samples"):
        AudioTokenizer.from_spec({**spec, "windows": {"chunk_samples": 0}}, tmp_path)


def test_stretches_do_not_depend_on_blocks():
    samples = sound(1.7)
    plan = SampleChunks(chunk_samples=5000)
    whole = list(plan.cut([samples], GRID))
    rng = np.random.default_rng(0)
    edges = np.sort(rng.integers(0, len(samples), 40))
    split = list(plan.cut(np.split(samples, edges), GRID))
    assert [len(w.samples) for w in whole] == [5000] * 5 + [len(samples) - 25_000]
    assert all((a.samples == b.samples).all() for a, b in zip(whole, split, strict=True))
    with pytest.raises(TooShortError):
        list(plan.cut([samples[:399]], GRID))
    with pytest.raises(ConfigError, match="at least 400"):
        list(SampleChunks(chunk_samples=399).cut([samples], GRID))
