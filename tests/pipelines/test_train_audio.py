"""`dvse train audio` leaves a part that a bundle can be built from, or says why not."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from dvse.audio.tokenizer import AudioTokenizer
from dvse.errors import BundleNotFoundError, ConfigError, TrainingError
from dvse.items import Audio
from dvse.part import Part
from pipelines.audio_training import UnitSettings, audio_files, train_digit_units, train_units
from pipelines.cli import main
from pipelines.espeak import Span
from pipelines.labelled_speech import Clip
from pipelines.unit_codebook import FrameSample, fit_codebook
from pipelines.unit_encoder_training import UnitEncoderTraining, tiny_encoder_config
from pipelines.word_lists import DIGIT_WORDS


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    HubertModel(
        HubertConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            conv_dim=(8, 8, 8),
            conv_kernel=(10, 8, 8),
            conv_stride=(5, 8, 8),
            num_feat_extract_layers=3,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2,
        )
    ).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "recordings"
    (folder / "inner").mkdir(parents=True)
    soundfile.write(folder / "a.wav", rng.uniform(-0.5, 0.5, 30_000), 16_000)
    soundfile.write(folder / "inner" / "b.flac", rng.uniform(-0.5, 0.5, 30_000), 44_100)
    (folder / "broken.ogg").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("no recording")
    return folder


def test_units_of_a_published_encoder(
    encoder: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "part"
    command = ["train", "audio", "--data", str(recordings), "--encoder", str(encoder)]
    command += ["--layer", "1", "--num-codes", "20", "--window-s", "2", "--hop-s", "1.5"]
    assert main([*command, "--threads", str(torch.get_num_threads()), "--output", str(output)]) == 0
    assert "20 units in" in capsys.readouterr().out
    part = Part.load(output, modality="audio")
    assert part.metrics["files"] == 3
    assert part.metrics["clustered_codes_used"] == 1.0
    assert part.provenance["data"]["files"] == 3
    tokenizer = AudioTokenizer.from_spec(part.spec, part.folder)
    assert (tokenizer.num_codes, tokenizer.frame_rate_hz) == (20, 50.0)
    (chunk,) = tokenizer.preparer.prepare(Audio(recordings / "a.wav"))
    assert tokenizer.encode([chunk])[0].shape == (93, 1)


def test_the_same_seed_gives_the_same_centroids(
    encoder: Path, recordings: Path, tmp_path: Path
) -> None:
    settings = UnitSettings(layer=2, num_codes=8, max_frames=50)
    for name in ("one", "two"):
        train_units([recordings], tmp_path / name, encoder=encoder, settings=settings)
    one, two = ((tmp_path / n / "codebook.safetensors").read_bytes() for n in ("one", "two"))
    assert one == two


def test_data_that_cannot_be_trained_on(encoder: Path, recordings: Path, tmp_path: Path) -> None:
    settings = UnitSettings(layer=1, num_codes=8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="found none"):
        audio_files([tmp_path / "empty"])
    with pytest.raises(BundleNotFoundError, match="directory with a transformers model"):
        train_units([recordings], tmp_path / "x", encoder=tmp_path / "no", settings=settings)
    with pytest.raises(TrainingError, match="none of 1 recordings could be read"):
        train_units([recordings / "broken.ogg"], tmp_path / "x", encoder=encoder, settings=settings)
    many = UnitSettings(layer=1, num_codes=5_000)
    with pytest.raises(TrainingError, match="at least 5000 different frames for 5000 codes"):
        train_units([recordings], tmp_path / "x", encoder=encoder, settings=many)
    soundfile.write(tmp_path / "silence.wav", np.zeros(60_000), 16_000)
    with pytest.raises(TrainingError, match="give more recordings or ask for fewer codes"):
        train_units([tmp_path / "silence.wav"], tmp_path / "x", encoder=encoder, settings=settings)
    assert not (tmp_path / "x").exists()


def test_vectors_that_cannot_be_clustered() -> None:
    with pytest.raises(TrainingError, match="received NaN or infinity"):
        fit_codebook(np.full((9, 2), np.nan, np.float32), 2)
    with pytest.raises(TrainingError, match="at least one code"):
        fit_codebook(np.ones((9, 2), np.float32), 0)
    with pytest.raises(TrainingError, match="received none"):
        _ = FrameSample(max_frames=4, seed=0).vectors


def test_clusters_that_stand_apart_are_found() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    vectors = np.repeat(centres, 40, axis=0) + rng.normal(0, 0.1, (120, 2)).astype(np.float32)
    found = fit_codebook(vectors, 3).centroids[0].numpy()
    distances = np.linalg.norm(found[:, None] - centres[None], axis=-1)
    assert sorted(distances.argmin(1)) == [0, 1, 2]
    assert distances.min(1).max() < 0.1


def test_a_sample_is_uniform_over_the_stream() -> None:
    counts = np.zeros(40)
    for seed in range(400):
        sample = FrameSample(max_frames=10, seed=seed)
        for start in range(0, 40, 8):
            sample.add(np.arange(start, start + 8, dtype=np.float32)[:, None])
        assert sample.num_seen == 40
        counts[sample.vectors[:, 0].astype(int)] += 1
    # Each of 40 is expected 100 times, with a standard deviation of about 9.
    assert counts.sum() == 4_000
    assert np.abs(counts - 100).max() < 45


def test_the_small_encoder_from_data_to_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    data, rows = tmp_path / "digits", []
    data.mkdir()
    for speaker, index in (("george", 10), ("george", 5), ("lucas", 7)):
        for digit, word in enumerate(DIGIT_WORDS):
            name = f"{digit}_{speaker}_{index}.wav"
            tone = np.sin(np.arange(4_000) * (0.1 + digit / 10)) * 0.3
            soundfile.write(data / name, tone + rng.normal(0, 0.05, 4_000), 8_000)
            rows.append({"audio_filepath": name, "text": word, "speaker": speaker})
    (data / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    speech = Clip(
        samples=rng.normal(0, 0.1, 16_000).astype(np.float32),
        words=(Span(start_s=0.0, label="cat"),),
        phones=(Span(start_s=0.0, label="k"),),
    )
    monkeypatch.setattr("pipelines.audio_training.synthesize_words", lambda **options: [speech] * 3)
    small = tiny_encoder_config().to_diff_dict() | {
        "hidden_size": 16,
        "intermediate_size": 16,
        "conv_dim": [4, 4, 8],
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    }
    part = train_digit_units(
        data,
        tmp_path / "part",
        training=UnitEncoderTraining(
            steps=4, digits_per_step=4, crops_per_step=2, align_from=1, encoder=small
        ),
        hours=0.001,
        synthetic_share=0.3,
        settings=UnitSettings(layer=3, num_codes=12),
    )
    figures = Part.load(tmp_path / "part", modality="audio").metrics
    assert figures == json.loads(json.dumps(part.metrics))
    assert figures["units"]["unknown"]["frames"] == 240
    assert 0 < figures["units"]["known"]["label_purity"] <= 1
    assert figures["changed"]["known"]["gain_0.5_db"] < 0.05
    assert part.provenance["data"][0]["files"] == 10
    tokenizer = AudioTokenizer.from_spec(part.spec, part.folder)
    assert tokenizer.num_codes == 12
    # The weights are stored in half precision, without loss.
    assert (tmp_path / "part" / "encoder.safetensors").stat().st_size < 2.5 * sum(
        p.numel() for p in tokenizer.encoder.model.parameters()
    ) + 20_000
    with pytest.raises(ConfigError, match="synthetic share"):
        train_digit_units(
            data,
            tmp_path / "other",
            training=UnitEncoderTraining(steps=4, encoder=small),
            hours=0.001,
            synthetic_share=1.0,
            settings=UnitSettings(layer=3, num_codes=12),
        )
