"""The contract of a media tokenizer, and codes that depend on nothing but the recording."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from dvse.audio.encoder import AudioEncoder
from dvse.audio.hub_weights import HubWeights, weights_sha256
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.chunk import Chunk
from dvse.codebook import Codebook
from dvse.errors import (
    BundleFormatError,
    BundleIntegrityError,
    BundleNotFoundError,
    ConfigError,
    InputError,
    ItemTypeError,
    TooShortError,
    UnsafeFileError,
)
from dvse.items import Audio, Text
from dvse.storage.weights import read_module, round_to_half

RATE = 8_000
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
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
NORMS = {
    "group": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
}
WINDOWING = Windowing(window_frames=60, hop_frames=40)


def tokenizer_of(
    family: str = "wav2vec2", norm: str = "layer", *, num_levels: int = 1, **options: object
) -> AudioTokenizer:
    torch.manual_seed(0)
    config_class, model_class = FAMILIES[family]
    model = model_class(config_class(**SIZES, **NORMS[norm]))
    encoder = AudioEncoder.of(model, layer=2, normalize=True)
    features = encoder(torch.randn(1, 40_000))[0]
    chosen = features[torch.randperm(len(features))[: 50 * num_levels]]
    settings = {"sample_rate_hz": RATE, "windowing": WINDOWING} | options
    return AudioTokenizer(
        encoder=encoder, codebook=Codebook(chosen.reshape(num_levels, 50, -1)), **settings
    )


def recording(num_samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hum = np.sin(np.arange(num_samples) * rng.uniform(0.05, 1.0))
    return (0.3 * hum + 0.2 * rng.standard_normal(num_samples)).astype(np.float32)


def chunks_of(tokenizer: AudioTokenizer, samples: np.ndarray, rate: int = RATE) -> list[Chunk]:
    return list(tokenizer.preparer.prepare(Audio(samples, sample_rate_hz=rate)))


def codes_of(tokenizer: AudioTokenizer, samples: np.ndarray, rate: int = RATE) -> np.ndarray:
    return np.concatenate(tokenizer.encode(chunks_of(tokenizer, samples, rate)))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_codes_are_bit_equal_whatever_the_neighbours(family: str, norm: str) -> None:
    tokenizer = tokenizer_of(family, norm)
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(200, 9_000, size=20), 4_805, 4_805, 700, 700, 20_000]
    chunks = [c for i, n in enumerate(lengths) for c in chunks_of(tokenizer, recording(int(n), i))]
    alone = [tokenizer.encode([chunk])[0] for chunk in chunks]
    features = [tokenizer.embed([chunk])[0] for chunk in chunks]
    for _ in range(3):
        order = rng.permutation(len(chunks))
        found = tokenizer.encode([chunks[i] for i in order])
        embedded = tokenizer.embed([chunks[i] for i in order])
        for place, i in enumerate(order):
            np.testing.assert_array_equal(found[place], alone[i])
            np.testing.assert_array_equal(embedded[place], features[i])


@pytest.mark.parametrize("room", [4, 7])
@pytest.mark.parametrize("norm", NORMS)
def test_filled_up_batches_of_windows_do_not_change_codes(
    norm: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for seven is used for four: of odd numbers convolutions sum the last in other orders."""
    tokenizer = tokenizer_of("wav2vec2", norm)
    frames = room * tokenizer.preparer.windowing.window_frames
    monkeypatch.setattr("dvse.audio.tokenizer._BATCH_FRAMES", {"cpu": frames})
    chunks = chunks_of(tokenizer, recording(60_000)) + chunks_of(tokenizer, recording(30_000, 1))
    assert tokenizer.batch_rows(chunks[0].shape) == 4
    assert tokenizer.batch_rows((len(chunks[0].data) - 1,)) == 1
    together = tokenizer.encode(chunks)
    for chunk, codes in zip(chunks, together, strict=True):
        np.testing.assert_array_equal(tokenizer.encode([chunk])[0], codes)


def test_a_draft_embeds_and_gets_its_codebook() -> None:
    whole = tokenizer_of(num_levels=2, merge_repeats=True, max_duration_s=9.0)
    draft = AudioTokenizer(
        encoder=whole.encoder,
        codebook=None,
        sample_rate_hz=RATE,
        windowing=WINDOWING,
        merge_repeats=True,
        max_duration_s=9.0,
    )
    chunks = chunks_of(draft, recording(9_000))
    assert (draft.num_codes, draft.num_levels, draft.codebook) == (0, 0, None)
    features = draft.embed(chunks)
    for call in (
        lambda: draft.encode(chunks),
        lambda: draft.quantize(features),
        lambda: draft.save_files(Path("nowhere")),
    ):
        with pytest.raises(ConfigError, match="draft without a codebook"):
            call()
    assert not Path("nowhere").exists()
    assert whole.codebook is not None
    filled = draft.with_codebook(whole.codebook)
    assert filled.spec() == whole.spec()
    for found, expected in zip(filled.quantize(features), whole.encode(chunks), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("num_samples", [205, 1_000, 4_900, 9_999, 33_333])
def test_as_many_codes_as_the_encoder_has_frames(num_samples: int) -> None:
    tokenizer = tokenizer_of(num_levels=2)
    chunks = chunks_of(tokenizer, recording(num_samples))
    codes = np.concatenate(tokenizer.encode(chunks))
    assert codes.dtype == np.int32
    assert codes.shape == (tokenizer.preparer.grid.num_frames(num_samples), 2)
    assert codes.min() >= 0
    assert codes.max() < tokenizer.num_codes
    assert sum(chunk.duration_s for chunk in chunks) == pytest.approx(num_samples / RATE)
    assert all(len(c.data) == 4_805 or len(chunks) == 1 for c in chunks)


def test_one_window_equals_the_bare_encoder() -> None:
    tokenizer = tokenizer_of()
    samples = recording(3_000)
    normalised = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    with torch.inference_mode():
        expected = tokenizer.encoder.model(torch.from_numpy(normalised)[None]).last_hidden_state[0]
    (found,) = tokenizer.embed(chunks_of(tokenizer, samples))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    nearest = torch.cdist(torch.from_numpy(found), tokenizer.codebook.centroids[0]).argmin(-1)
    np.testing.assert_array_equal(codes_of(tokenizer, samples)[:, 0], nearest.numpy())


def test_frames_in_the_middle_of_a_long_recording_come_from_their_window() -> None:
    tokenizer = tokenizer_of()
    samples = recording(40_000)
    chunks = chunks_of(tokenizer, samples)
    codes = tokenizer.encode(chunks)
    for number, (chunk, found) in enumerate(zip(chunks, codes, strict=True)):
        alone = codes_of(tokenizer, chunk.data)
        np.testing.assert_array_equal(found, alone[slice(*chunk.keep)], err_msg=str(number))


def test_another_rate_and_channels_give_the_same_units_as_the_mixed_resampled_sound() -> None:
    tokenizer = tokenizer_of()
    stereo = np.stack([recording(32_000), recording(32_000, 1)], axis=1)
    chunks = chunks_of(tokenizer, stereo, 16_000)
    assert sum(chunk.duration_s for chunk in chunks) == pytest.approx(2.0)
    codes = np.concatenate(tokenizer.encode(chunks))
    np.testing.assert_array_equal(codes, codes_of(tokenizer, stereo.mean(1), 16_000))


def test_silence_has_codes_and_a_click_is_too_short() -> None:
    tokenizer = tokenizer_of()
    assert len(codes_of(tokenizer, np.zeros(8_000, np.float32))) == 99
    with pytest.raises(TooShortError, match=r"at least 11 ms of sound, received 5\.0 ms"):
        chunks_of(tokenizer, np.zeros(40, np.float32))
    with pytest.raises(TooShortError, match=r"received 0\.0 ms"):
        chunks_of(tokenizer, np.zeros(0, np.float32))
    with pytest.raises(ItemTypeError, match=r"expected dvse\.Audio, received Text"):
        list(tokenizer.preparer.prepare(Text("hello")))


def test_only_input_errors_leave_prepare(tmp_path: Path) -> None:
    tokenizer = tokenizer_of()
    (tmp_path / "text.wav").write_text("not a sound")
    for source in (tmp_path, tmp_path / "no.wav", tmp_path / "text.wav", b"", b"RIFF", 3, "a\0b"):
        with pytest.raises(InputError) as caught:
            list(tokenizer.preparer.prepare(Audio(source)))
        assert "\n" not in str(caught.value)


def test_part_numbers_travel() -> None:
    tokenizer = tokenizer_of()
    prepared = tokenizer.preparer.prepare(Audio(recording(9_000), sample_rate_hz=RATE), part=3)
    assert {chunk.part for chunk in prepared} == {3}


def test_merging_is_part_of_the_spec() -> None:
    codes = np.array([[1], [1], [2]], dtype=np.int32)
    assert tokenizer_of().merge(codes).durations is None
    merged = tokenizer_of(merge_repeats=True).merge(codes)
    assert merged.codes.tolist() == [[1], [2]]
    assert merged.durations.tolist() == [2, 1]


def test_the_preparer_is_small_and_needs_no_torch() -> None:
    preparer = tokenizer_of().preparer
    assert len(pickle.dumps(preparer)) < 2_000
    assert pickle.loads(pickle.dumps(preparer)) == preparer
    script = (
        "import sys, numpy as np; from dvse.audio.preparer import AudioPreparer;"
        "from dvse.audio.windows import FrameGrid, Windowing; from dvse.items import Audio;"
        "p = AudioPreparer(sample_rate_hz=8000, grid=FrameGrid(stride=160, reach=200),"
        "windowing=Windowing(window_frames=9, hop_frames=5));"
        "assert list(p.prepare(Audio(np.zeros(9000), sample_rate_hz=8000)));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_it_gives_the_same_codes(tmp_path: Path, family: str, norm: str) -> None:
    tokenizer = tokenizer_of(family, norm, num_levels=2, merge_repeats=True)
    tokenizer.save_files(tmp_path)
    spec = json.loads(json.dumps(tokenizer.spec()))
    loaded = AudioTokenizer.from_spec(spec, tmp_path)
    assert loaded.spec() == tokenizer.spec()
    assert (loaded.num_codes, loaded.num_levels, loaded.frame_rate_hz) == (50, 2, 100.0)
    samples = recording(12_000)
    np.testing.assert_array_equal(codes_of(loaded, samples), codes_of(tokenizer, samples))


def test_rounded_weights_take_half_the_space_and_give_the_same_codes(tmp_path: Path) -> None:
    tokenizer = tokenizer_of()
    tokenizer.save_files(tmp_path)
    full = (tmp_path / "encoder.safetensors").stat().st_size
    round_to_half(tokenizer.encoder.model)
    tokenizer.save_files(tmp_path)
    assert (tmp_path / "encoder.safetensors").stat().st_size < 0.7 * full
    loaded = AudioTokenizer.from_spec(tokenizer.spec(), tmp_path)
    samples = recording(5_000)
    np.testing.assert_array_equal(codes_of(loaded, samples), codes_of(tokenizer, samples))


def test_an_encoder_of_the_hub_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tokenizer_of()
    source = {"value": plain.encoder}
    monkeypatch.setattr(
        AudioEncoder, "from_pretrained", classmethod(lambda cls, *args, **options: source["value"])
    )
    hub = HubWeights(repo="someone/encoder", sha256=weights_sha256(plain.encoder.model))
    tokenizer = tokenizer_of(hub_weights=hub)
    tokenizer.save_files(tmp_path)
    assert not (tmp_path / "encoder.safetensors").exists()
    loaded = AudioTokenizer.from_spec(json.loads(json.dumps(tokenizer.spec())), tmp_path)
    samples = recording(3_000)
    np.testing.assert_array_equal(codes_of(loaded, samples), codes_of(tokenizer, samples))
    source["value"] = tokenizer_of("wav2vec2", "group").encoder
    with pytest.raises(BundleIntegrityError, match="pin the revision"):
        AudioTokenizer.from_spec(tokenizer.spec(), tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("extra",), 1, "expected fields"),
        (("sample_rate_hz",), "8000", "expected int as sample_rate_hz"),
        (("sample_rate_hz",), True, "expected int as sample_rate_hz"),
        (("sample_rate_hz",), 5, "sample_rate_hz of 1000"),
        (("max_duration_s",), 0.0, "max_duration_s above 0"),
        (("merge_repeats",), 1, "expected bool as merge_repeats"),
        (("windows", "hop_frames"), 99, "hop_frames"),
        (("windows", "overlap"), 1, "unknown field 'overlap'"),
        (("encoder", "layer"), 7, r"0\.\.2, received 7"),
        (("encoder", "config"), {"hidden_size": 7}, "encoder"),
        (("weights",), {"repo": "a/b"}, "field 'sha256' is missing"),
        (("weights",), {"repo": 3, "sha256": "0"}, "a text as repo"),
        (("windows",), [], "expected an object"),
    ],
)
def test_specs_that_are_wrong(
    tmp_path: Path, path: tuple[str, ...], value: object, message: str
) -> None:
    tokenizer = tokenizer_of()
    tokenizer.save_files(tmp_path)
    spec = json.loads(json.dumps(tokenizer.spec()))
    place = spec
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(BundleFormatError, match=message):
        AudioTokenizer.from_spec(spec, tmp_path)


def test_files_that_are_wrong(tmp_path: Path) -> None:
    tokenizer = tokenizer_of()
    tokenizer.save_files(tmp_path)
    file = tmp_path / "encoder.safetensors"
    torch.save({}, file)
    with pytest.raises(UnsafeFileError, match="a pickle, which could run code"):
        AudioTokenizer.from_spec(tokenizer.spec(), tmp_path)
    file.write_bytes(b"rubbish")
    with pytest.raises(BundleFormatError, match="expected a safetensors file"):
        AudioTokenizer.from_spec(tokenizer.spec(), tmp_path)
    tokenizer_of("hubert").save_files(tmp_path)
    other = tokenizer.spec() | {"encoder": tokenizer_of("wavlm").spec()["encoder"]}
    with pytest.raises(BundleFormatError, match="weights of another network"):
        AudioTokenizer.from_spec(other, tmp_path)
    file.unlink()
    with pytest.raises(BundleNotFoundError, match="there is none"):
        AudioTokenizer.from_spec(tokenizer.spec(), tmp_path)


def test_a_codebook_of_another_width_is_refused() -> None:
    encoder = tokenizer_of().encoder
    with pytest.raises(ConfigError, match="gives 16 channels, the codebook takes 3"):
        AudioTokenizer(
            encoder=encoder,
            codebook=Codebook(torch.zeros(1, 4, 3)),
            sample_rate_hz=RATE,
            windowing=WINDOWING,
        )


def test_a_safetensors_file_that_begins_like_a_pickle_is_read(tmp_path: Path) -> None:
    """The first bytes are the size of the header, and some sizes begin with 0x80."""
    module = torch.nn.Linear(2, 2)
    for padding in range(0, 4096, 8):
        data = save(module.state_dict(), metadata={"padding": "x" * padding})
        if data[:1] == b"\x80":
            break
    else:
        pytest.fail("no size of the header began with 0x80")
    (tmp_path / "weights.safetensors").write_bytes(data)
    other = torch.nn.Linear(2, 2)
    read_module(other, tmp_path / "weights.safetensors")
    assert weights_sha256(other) == weights_sha256(module)
