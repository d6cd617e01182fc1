"""EnCodec with stretches, two channels and a scale, as that of 48 kHz: no code differs."""

import json

import numpy as np
import pytest
import soundfile
import torch
from transformers import EncodecConfig, EncodecFeatureExtractor, EncodecModel

import dvse
from dvse.audio.loading import load_audio_tokenizer
from dvse.errors import BundleFormatError, ConfigError, DecodeError
from dvse.items import Audio
from dvse.storage.finding import find_bundle
from dvse.storage.part import Part
from pipelines.cli import main
from pipelines.importing.codec import import_codec
from pipelines.training.bundle_building import build_bundle

RATE, CHUNK, HOP, K = 8000, 4000, 3940, 64
CONFIG = {
    "sampling_rate": RATE,
    "audio_channels": 2,
    "normalize": True,
    "chunk_length_s": 0.5,
    "overlap": 0.015,
    "norm_type": "time_group_norm",
    "use_causal_conv": False,
    "num_filters": 4,
    "hidden_size": 16,
    "upsampling_ratios": [5, 4, 2],
    "codebook_size": K,
    "num_lstm_layers": 1,
    "target_bandwidths": [1.2, 3.6, 6.0],
}
BANDWIDTHS = {1: 1.2, 3: 3.6, 5: 6.0}  # 200 frames of 6 bits are 1.2 kbit/s a level


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(7)
    model = EncodecModel(EncodecConfig(**CONFIG)).eval()
    noise = torch.randn(1, 2, K * 40)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "norm" in name:
                value.add_(0.1 * torch.randn_like(value))
        features = model.encoder(noise / noise.mean(1).pow(2).mean().sqrt())[0].T
        for number, layer in enumerate(model.quantizer.layers):  # codes where features are
            book = features if number == 0 else 0.5**number * (features - features.mean(0))
            layer.codebook.embed.copy_(book[torch.randperm(K)])
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encodec") / "encodec"
    model.save_pretrained(folder)
    return folder


def sound(num_samples, channels=2, seed=0):
    """Tones that move from side to side and fall silent, with noise."""
    rng = np.random.default_rng(seed)
    times = np.arange(num_samples)[:, None] / RATE
    tones = np.sin(2 * np.pi * (150 + 80 * np.arange(channels)) * times * (1 + 0.1 * times))
    swell = 0.02 + np.abs(np.sin(1.3 * times))
    return (0.4 * swell * (tones + 0.2 * rng.standard_normal(tones.shape))).astype(np.float32)


def tokenizer_of(folder, tmp_path, **options):
    options = {"num_levels": 3, "last_chunk": "short", "loudness": "level"} | options
    name = "-".join(map(str, options.values()))
    part = import_codec(folder, tmp_path / f"part-{name}", **options)
    return load_audio_tokenizer(part.spec, part.folder)


def encoded(tokenizer, item):
    return np.concatenate(tokenizer.encode(list(tokenizer.preparer.prepare(item))))


@torch.inference_mode()
def published(model, samples, num_levels, **inputs):
    """transformers' own codes `[frames, num_levels]`, each stretch without what fills it up."""
    inputs = inputs or {"input_values": torch.from_numpy(samples.T)[None]}
    found = model.encode(bandwidth=BANDWIDTHS[num_levels], **inputs)
    stretches = [codes[0].T.numpy() for codes in found.audio_codes]
    stretches[-1] = stretches[-1][: len(stretches[-1]) - found.last_frame_pad_length]
    return stretches, found


LENGTHS = [1, 39, 3939, 3940, 3941, 3999, 4000, 4001, 7939, 7940, 7941, 12_345]


@pytest.mark.parametrize("num_levels", [1, 3, 5])
@pytest.mark.parametrize("num_samples", LENGTHS)
def test_no_code_differs(model, folder, tmp_path, num_levels, num_samples):
    tokenizer = tokenizer_of(folder, tmp_path, num_levels=num_levels)
    assert (tokenizer.num_levels, tokenizer.num_codes) == (num_levels + 1, K)
    samples = sound(num_samples)
    codes = encoded(tokenizer, Audio(samples, RATE))
    stretches, _ = published(model, samples, num_levels)
    assert (codes[:, :-1] == np.concatenate(stretches)).all()
    assert len(np.unique(codes[:, 0])) > min(20, num_samples // 80)


@pytest.mark.parametrize("num_samples", LENGTHS)
def test_filled_up_as_transformers_extractor_does(model, folder, tmp_path, num_samples):
    tokenizer = tokenizer_of(folder, tmp_path, last_chunk="filled", loudness="none")
    extractor = EncodecFeatureExtractor(
        feature_size=2, sampling_rate=RATE, chunk_length_s=0.5, overlap=0.015
    )
    samples = sound(num_samples)
    inputs = extractor(samples.T, sampling_rate=RATE, return_tensors="pt")
    codes = encoded(tokenizer, Audio(samples, RATE))
    stretches, _ = published(model, samples, 3, **inputs)
    assert (codes == np.concatenate(stretches)).all()
    chunks = list(tokenizer.preparer.prepare(Audio(samples, RATE)))
    assert sum(chunk.duration_s for chunk in chunks) == pytest.approx(num_samples / RATE)
    assert all(chunk.duration_s >= 0 for chunk in chunks)


@pytest.mark.parametrize("num_samples", [39, 4000, 12_345])
def test_the_way_back_is_the_models_own(model, folder, tmp_path, num_samples):
    samples = sound(num_samples)
    _, found = published(model, samples, 3)
    for loudness in ("level", "none"):
        tokenizer = tokenizer_of(folder, tmp_path, loudness=loudness)
        codes = encoded(tokenizer, Audio(samples, RATE))
        decibels = 20 * np.log10([scale.item() for scale in found.audio_scales])
        scales = [torch.ones(1, 1)] * len(decibels)
        if loudness == "level":
            half_step = 120 / (K - 1) / 2
            said = -100 + 2 * half_step * codes[:: CHUNK // 40, -1]
            np.testing.assert_array_less(np.abs(said - decibels), half_step + 1e-6)
            scales = [torch.tensor([[10 ** (one / 20)]], dtype=torch.float32) for one in said]
        with torch.inference_mode():
            wanted = model.decode(
                found.audio_codes, scales, last_frame_pad_length=found.last_frame_pad_length
            ).audio_values[0]
        back = tokenizer.decode(codes)
        assert back.dtype == np.float32 and back.shape == wanted.T.shape
        assert num_samples <= len(back) < num_samples + 40
        np.testing.assert_allclose(back, wanted.T, atol=1e-5 * float(wanted.abs().max()))
        assert np.ptp(back) > 0


def test_together_as_alone_and_in_any_blocks(folder, tmp_path):
    tokenizer = tokenizer_of(folder, tmp_path)
    items = [Audio(sound(n, seed=n), RATE) for n in (9000, 4000, 5000)]
    chunks = [chunk for item in items for chunk in tokenizer.preparer.prepare(item)]
    alone = [tokenizer.encode([chunk])[0] for chunk in chunks]
    for one, many in zip(alone, tokenizer.encode(chunks), strict=True):
        assert (one == many).all()
    plan, grid, samples = tokenizer.preparer.windowing, tokenizer.preparer.grid, sound(9000)
    whole = list(plan.cut([samples], grid))
    for size in (1000, 3999, 4001):
        blocks = np.split(samples, range(size, 9000, size))
        for one, other in zip(whole, plan.cut(blocks, grid), strict=True):
            assert (one.samples == other.samples).all() and one.keep == other.keep


def test_channels(folder, tmp_path):
    """One goes to both, two stay apart, also through the resampler; more are refused."""
    tokenizer = tokenizer_of(folder, tmp_path)
    mono = sound(5000, channels=1)
    both = encoded(tokenizer, Audio(np.repeat(mono, 2, axis=1), RATE))
    assert (encoded(tokenizer, Audio(mono[:, 0], RATE)) == both).all()
    soundfile.write(tmp_path / "stereo.wav", sound(20_000), 16_000, "FLOAT")
    (first, *_) = tokenizer.preparer.prepare(Audio(tmp_path / "stereo.wav"))
    assert first.data.shape == (CHUNK, 2)
    mono_preparer = load_audio_tokenizer(*_tiny()).preparer
    for channel in range(2):
        one = Audio(sound(20_000)[:, channel], 16_000)
        (alone, *_) = mono_preparer.prepare(one)
        shared = min(len(alone.data), CHUNK) - 100
        assert mono_preparer.sample_rate_hz == RATE
        np.testing.assert_array_equal(first.data[:shared, channel], alone.data[:shared])
    with pytest.raises(DecodeError, match="one or two channels, received 6"):
        encoded(tokenizer, Audio(sound(500, channels=6), RATE))
    broken = sound(5000)
    broken[4321, 1] = np.nan
    with pytest.raises(DecodeError, match="sample 4321 "):
        encoded(tokenizer, Audio(broken, RATE))


def _tiny():
    from dvse.storage.bundle import Bundle

    bundle = Bundle.open(find_bundle("tiny"))
    return bundle.sections["audio"].spec, bundle.folder / "audio"


def test_a_bundle_gives_stereo_sound_as_loud_as_it_was(folder, tmp_path):
    import_codec(folder, tmp_path / "part", num_levels=5, last_chunk="short", loudness="level")
    text = Part(modality="text", folder=tmp_path / "text", spec={"type": "sentencepiece"})
    text.save()
    piece = find_bundle("tiny") / "text" / "spiece.model"
    (tmp_path / "text" / "spiece.model").write_bytes(piece.read_bytes())
    parts = {"text": tmp_path / "text", "audio": tmp_path / "part"}
    build_bundle(tmp_path / "bundle", parts=parts)
    tokenizer = dvse.load(tmp_path / "bundle")
    samples = sound(12_345)
    encoding = tokenizer.encode(dvse.Audio(samples, RATE))
    assert encoding.num_levels == 6 and encoding.duration_s == pytest.approx(12_345 / RATE)
    assert encoding.frame_rate_hz == 100 * RATE / HOP
    num_frames = sum(-(-(min(CHUNK, 12_345 - start)) // 40) for start in range(0, 12_345, HOP))
    (segment,) = tokenizer.decode(encoding.ids)
    assert segment.units.shape == (num_frames, 6)
    assert segment.samples.ndim == 2 and segment.samples.shape[1] == 2
    (louder,) = tokenizer.decode(tokenizer.encode(dvse.Audio(2 * samples, RATE)).ids)
    gain = np.sqrt((louder.samples**2).mean() / (segment.samples**2).mean())
    assert 20 * np.log10(gain) == pytest.approx(6.02, abs=2)  # a step of 64 codes is 1.9 dB


def test_what_has_to_be_said(folder, tmp_path, capsys):
    words = ["import", "codec", str(folder), "--output", str(tmp_path / "part")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("--num-levels", "--last-chunk short", "--loudness level"))
    assert "--chunk-s" not in said
    words += ["--num-levels", "3", "--loudness", "level"]
    assert main([*words, "--last-chunk", "short", "--chunk-s", "1"]) == 2
    assert "stretches of its own" in capsys.readouterr().err
    assert main([*words, "--last-chunk", "short"]) == 0
    part = Part.load(tmp_path / "part", modality="audio")
    assert part.spec["windows"] == {"chunk_samples": CHUNK, "hop_samples": HOP, "fill_last": False}
    assert part.spec["codec"]["keep_loudness"] is True
    settings = part.provenance["settings"]
    assert (settings["overlap_s"], settings["last_chunk"]) == (0.0075, "short")
    assert (settings["loudness"], settings["channels"]) == ("level", 2)
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "part")]) == 0
    shown = capsys.readouterr().out
    for line in (
        "two channels (one goes to both)",
        "0.5 s every 0.4925 s, all frames of each kept; the last stretch is as long as it is",
        "3, the first of those that it has, and the loudness of each stretch",
        "each stretch to a power of 1",
    ):
        assert line in shown
    extractor = {"chunk_length_s": 0.5, "overlap": 0.015, "feature_size": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    try:
        words[words.index("--output") + 1] = str(tmp_path / "filled")
        assert main(words) == 0
    finally:
        (folder / "preprocessor_config.json").unlink()
    part = Part.load(tmp_path / "filled", modality="audio")
    assert part.spec["windows"]["fill_last"] is True


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({"overlap": None}, {}, "overlap of 0 to 1"),
        ({"overlap": -1.0}, {}, "overlap of 0 to 1"),
        ({"audio_channels": 3}, {}, "received 3 channels"),
        ({}, {"loudness": "loud"}, "loudness among level, none"),
        ({"normalize": False}, {}, "for codecs that scale"),
        ({"chunk_length_s": None}, {}, "for codecs with stretches"),
    ],
)
def test_what_is_refused(tmp_path, fields, options, message):
    EncodecModel(EncodecConfig(**CONFIG | fields)).save_pretrained(tmp_path / "odd")
    with pytest.raises(ConfigError, match=message):
        tokenizer_of(tmp_path / "odd", tmp_path, **options)
    assert not list(tmp_path.glob("part*")) and not list(tmp_path.glob(".part*"))


def test_a_part_with_other_stretches_than_the_codecs_is_damaged(folder, tmp_path):
    part = import_codec(
        folder, tmp_path / "part", num_levels=3, last_chunk="short", loudness="none"
    )
    for windows in ({"chunk_samples": CHUNK}, {"chunk_samples": CHUNK, "hop_samples": 99}):
        with pytest.raises(BundleFormatError, match="own stretches, 4000 samples every 3940"):
            load_audio_tokenizer(part.spec | {"windows": windows}, part.folder)
