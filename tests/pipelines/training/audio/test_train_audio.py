"""`dvse train audio` leaves a part that a bundle can be built from, or says why not."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from dvse.audio.tokenizer import AudioTokenizer
from dvse.errors import BundleNotFoundError, ConfigError, TrainingError
from dvse.items import Audio
from dvse.storage.part import Part
from pipelines.cli import main
from pipelines.codebooks.clustering import Clustering
from pipelines.codebooks.kmeans import KMeansSettings, Reservoir
from pipelines.codebooks.kmeans.restarts import fit_codebook
from pipelines.speech.clips import Clip
from pipelines.speech.espeak import Span
from pipelines.speech.word_lists import DIGIT_WORDS
from pipelines.training.audio.digit_units import train_digit_units
from pipelines.training.audio.encoder import tiny_encoder_config
from pipelines.training.audio.settings import (
    DigitUnitRecipe,
    PublishedEncoder,
    SmallEncoder,
    UnitEncoderTraining,
    UnitRecipe,
    UnitSettings,
)
from pipelines.training.audio.units import audio_files, train_units


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
    recipe = recipe_of(encoder, recordings, layer=2, max_features=50)
    for name in ("one", "two"):
        train_units(recipe, tmp_path / name)
    one, two = ((tmp_path / n / "codebook.safetensors").read_bytes() for n in ("one", "two"))
    assert one == two


def test_data_that_cannot_be_trained_on(encoder: Path, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="found none"):
        audio_files([tmp_path / "empty"])
    with pytest.raises(BundleNotFoundError, match="directory with a transformers model"):
        train_units(recipe_of(tmp_path / "no", recordings), tmp_path / "x")
    with pytest.raises(TrainingError, match="none of 1 recordings could be read"):
        train_units(recipe_of(encoder, recordings / "broken.ogg"), tmp_path / "x")
    with pytest.raises(TrainingError, match="5000"):
        train_units(recipe_of(encoder, recordings, num_codes=5_000), tmp_path / "x")
    soundfile.write(tmp_path / "silence.wav", np.zeros(60_000), 16_000)
    with pytest.raises(TrainingError, match="silence"):
        train_units(recipe_of(encoder, tmp_path / "silence.wav"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def recipe_of(
    encoder: Path, data: Path, *, layer: int = 1, num_codes: int = 8, max_features: int = 100_000
) -> UnitRecipe:
    return UnitRecipe(
        data=(data,),
        encoder=PublishedEncoder(name=str(encoder)),
        units=UnitSettings(layer=layer),
        clustering=Clustering(
            kmeans=KMeansSettings(num_codes=num_codes), max_features=max_features
        ),
    )


def command(encoder: Path, recordings: Path, output: Path, *flags: str) -> list[str]:
    words = ["train", "audio", "--data", str(recordings), "--encoder", str(encoder)]
    words += ["--layer", "1", "--num-codes", "12", "--threads", str(torch.get_num_threads())]
    return [*words, "--output", str(output), *flags]


def centroids(folder: Path) -> bytes:
    return (folder / "codebook.safetensors").read_bytes()


@pytest.mark.parametrize("mode", ["lloyd", "minibatch", "faiss"])
def test_residual_levels_in_every_mode_from_recordings_to_decoded_features(
    mode: str, encoder: Path, recordings: Path, tmp_path: Path
) -> None:
    if mode == "faiss":
        pytest.importorskip("faiss")
    output = tmp_path / "part"
    flags = ("--mode", mode, "--num-levels", "3")
    assert main(command(encoder, recordings, output, *flags)) == 0
    part = Part.load(output, modality="audio")
    assert {"clustered_codes_used", "clustered_codes_used_level_2"} <= set(part.metrics)
    assert part.provenance["clustering"]["mode"] == mode
    assert not (output / "kmeans").exists(), "checkpoints go when the part is there"
    tokenizer = AudioTokenizer.from_spec(part.spec, part.folder)
    (chunk,) = tokenizer.preparer.prepare(Audio(recordings / "a.wav"))
    (codes,), (features,) = tokenizer.encode([chunk]), tokenizer.embed([chunk])
    assert codes.shape == (93, 3)
    rebuilt = tokenizer.codebook.decode(torch.from_numpy(codes))
    by_hand = sum(tokenizer.codebook.centroids[i][codes[:, i]] for i in range(3))
    torch.testing.assert_close(rebuilt, by_hand)
    error = (rebuilt - torch.from_numpy(features)).square().sum(1).mean()
    first = tokenizer.codebook.centroids[0][codes[:, 0]] - torch.from_numpy(features)
    assert error < first.square().sum(1).mean()


def test_kept_features_are_read_once_and_only_for_what_they_are_of(
    encoder: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    output = tmp_path / "part"
    words = command(encoder, recordings, output, "--keep-features")
    assert main(words) == 0
    assert Part.load(output, modality="audio").provenance["clustering"]["frames"] == "all"
    sampled = command(encoder, recordings, tmp_path / "sampled", "--max-frames", "100000")
    assert main(sampled) == 0
    assert centroids(output) == centroids(tmp_path / "sampled"), "all frames fit into the sample"
    with monkeypatch.context() as patched:
        patched.setattr("pipelines.training.audio.units._file_features", lambda *args: 1 / 0)
        first = centroids(output)
        assert main(words) == 0
        assert centroids(output) == first
    capsys.readouterr()
    assert main([*words, "--window-s", "2", "--hop-s", "1.5"]) == 1
    assert "were kept with windows = [30.0, 25.0], now it is [2.0, 1.5]" in capsys.readouterr().err
    assert main([*words, "--layer", "2"]) == 1
    assert "were kept with encoder" in capsys.readouterr().err


def test_a_killed_run_ends_with_the_centroids_of_one_that_was_not(
    encoder: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--keep-features", "--num-levels", "2", "--num-passes", "8")
    assert main(command(encoder, recordings, tmp_path / "whole", *flags)) == 0
    from pipelines.codebooks.kmeans import lloyd

    saved = []

    def killed(*args, **options):
        real(*args, **options)
        saved.append(1)
        if len(saved) == 3:
            raise KeyboardInterrupt

    real = lloyd.save_checkpoint
    monkeypatch.setattr(lloyd, "save_checkpoint", killed)
    clustering = Clustering(
        kmeans=KMeansSettings(num_codes=12, num_levels=2, num_passes=8), keep_features=True
    )
    recipe = replace(recipe_of(encoder, recordings), clustering=clustering)
    with pytest.raises(KeyboardInterrupt):
        train_units(recipe, tmp_path / "killed")
    assert not (tmp_path / "killed" / "part.json").exists()
    monkeypatch.setattr(lloyd, "save_checkpoint", real)
    train_units(recipe, tmp_path / "killed")
    assert centroids(tmp_path / "whole") == centroids(tmp_path / "killed")


def test_two_processes_write_one_part(encoder: Path, recordings: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    soundfile.write(recordings / "c.wav", rng.uniform(-0.5, 0.5, 30_000), 16_000)
    words = command(encoder, recordings, tmp_path / "two", "--keep-features", "--threads", "1")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, "--master-port", "29654", "-m", "pipelines.cli", *words],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("12 units in") == 1
    part = Part.load(tmp_path / "two", modality="audio")
    assert sorted(p.name for p in (tmp_path / "two" / "features").iterdir()) == ["0-of-2", "1-of-2"]
    assert part.metrics["files"] == 4 and part.metrics["clustered_frames"] > 200


def test_what_kmeans_refuses(encoder: Path, recordings: Path, tmp_path: Path, capsys) -> None:
    words = command(encoder, recordings, tmp_path / "x")
    for flags, message in (
        (("--mode", "minibatch", "--bf16"), "are of mode lloyd"),
        (("--max-frames", "5"), "a sample of at least 12 frames"),
        (("--num-levels", "0"), "num_levels of at least 1"),
    ):
        assert main([*words, *flags]) == 1
        assert message in capsys.readouterr().err
    assert main(["train", "audio", "--data", "d", "--output", "o", "--keep-features"]) == 1
    assert "need an --encoder" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_full_disk_leaves_no_part(
    encoder: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AudioTokenizer, "save_files", full)
    assert main(command(encoder, recordings, tmp_path / "part")) == 1
    assert "No space left on device. Free some space" in capsys.readouterr().err
    assert not (tmp_path / "part" / "part.json").exists()


def test_vectors_that_cannot_be_clustered() -> None:
    with pytest.raises(TrainingError, match="received NaN or infinity"):
        fit_codebook(np.full((9, 2), np.nan, np.float32), 2)
    with pytest.raises(TrainingError, match="at least one code"):
        fit_codebook(np.ones((9, 2), np.float32), 0)
    with pytest.raises(TrainingError, match="received none"):
        _ = Reservoir(capacity=4, seed=0).vectors


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
        sample = Reservoir(capacity=10, seed=seed)
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
    monkeypatch.setattr(
        "pipelines.training.audio.digit_units.synthesize_words", lambda **options: [speech] * 3
    )
    small = tiny_encoder_config().to_diff_dict() | {
        "hidden_size": 16,
        "intermediate_size": 16,
        "conv_dim": [4, 4, 8],
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    }
    training = UnitEncoderTraining(
        steps=4, digits_per_step=4, crops_per_step=2, align_from=1, encoder=small
    )
    recipe = DigitUnitRecipe(
        data=(data,),
        clustering=Clustering(kmeans=KMeansSettings(num_codes=12)),
        small=SmallEncoder(training=training, hours=0.001, synthetic_share=0.3),
    )
    part = train_digit_units(recipe, tmp_path / "part")
    figures = Part.load(tmp_path / "part", modality="audio").metrics
    assert figures == json.loads(json.dumps(part.metrics))
    assert figures["units"]["unknown"]["frames"] == 240
    assert 0 < figures["units"]["known"]["label_purity"] <= 1
    assert figures["changed"]["known"]["gain_0_5_db"] < 0.05
    assert part.provenance["data"][0]["files"] == 10
    tokenizer = AudioTokenizer.from_spec(part.spec, part.folder)
    assert tokenizer.num_codes == 12
    # The weights are stored in half precision, without loss.
    assert (tmp_path / "part" / "encoder.safetensors").stat().st_size < 2.5 * sum(
        p.numel() for p in tokenizer.encoder.model.parameters()
    ) + 20_000
    training = UnitEncoderTraining(steps=1, learning_rate=1e-9, encoder=small)
    going_on = replace(recipe.small, training=training, start=part.folder)
    further = train_digit_units(replace(recipe, small=going_on), tmp_path / "further")
    assert further.provenance["start"] == part.provenance
    begun = tokenizer.encoder.model.state_dict()
    went_on = AudioTokenizer.from_spec(further.spec, further.folder).encoder.model.state_dict()
    assert all(torch.allclose(went_on[name], value, atol=1e-3) for name, value in begun.items())
    with pytest.raises(ConfigError, match="synthetic share"):
        SmallEncoder(synthetic_share=1.0)
