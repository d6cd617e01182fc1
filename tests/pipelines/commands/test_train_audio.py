"""`dvse train audio` leaves a part that a bundle can be built from, or says why not."""

import contextlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_hubert import save_small_hubert, write_recordings

from dvse.audio.tokenizer import AudioTokenizer
from dvse.errors import ConfigError
from dvse.items import Audio
from dvse.precision import check_precision
from dvse.storage.part import Part
from pipelines.cli import main
from pipelines.codebooks.clustering import Clustering
from pipelines.codebooks.kmeans import KMeansSettings
from pipelines.training.audio.settings import (
    PublishedEncoder,
    UnitFeatures,
    UnitRecipe,
)
from pipelines.training.audio.units import train_units


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_hubert(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    return write_recordings(tmp_path / "recordings")


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


def test_cut_and_scaling_of_a_part_are_said_and_their_effect_is_published(
    encoder: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cut = ["--chunk-s", "0.5", "--normalize", "window", "--variance-floor", "1e-5"]
    assert main(command(encoder, recordings, tmp_path / "part", *cut)) == 0
    part = Part.load(tmp_path / "part")
    assert part.spec["windows"] == {"chunk_samples": 8000}
    assert part.spec["encoder"]["variance_floor"] == 1e-5
    figures = part.metrics["long_recordings"]
    assert 0 <= figures["window_share"] <= 1 and figures["units"] > 50
    assert "joined" not in figures["how"]
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "part")]) == 0
    text = capsys.readouterr().out
    assert f"window_share {figures['window_share']}" in text and "after each 0.5 s" in text
    assert main(command(encoder, recordings, tmp_path / "published")) == 0
    spec = Part.load(tmp_path / "published").spec
    assert spec["encoder"]["normalize_over"] == "recording", "its files ask for scaling"
    for bad in (["--chunk-s", "0"], ["--variance-floor", "2"], ["--normalize", "file"]):
        with contextlib.suppress(SystemExit):
            assert main(command(encoder, recordings, tmp_path / "x", *bad)) == 2
        assert bad[0] in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_features_to_cluster_may_be_computed_in_fewer_bits(
    encoder: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch
) -> None:
    try:
        check_precision("bfloat16", "cpu")
    except ConfigError as error:
        pytest.skip(str(error))
    for precision in ("float32", "bfloat16"):
        words = command(encoder, recordings, tmp_path / precision, "--precision", precision)
        assert main(words) == 0
    exact, rounded = (Part.load(tmp_path / p) for p in ("float32", "bfloat16"))
    assert "precision" not in exact.provenance["clustering"]
    assert rounded.provenance["clustering"]["precision"] == "bfloat16"
    weights = [(part.folder / "encoder.safetensors").read_bytes() for part in (exact, rounded)]
    assert weights[0] == weights[1], "the encoder is kept as it is"
    assert centroids(tmp_path / "float32") != centroids(tmp_path / "bfloat16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    capsys.readouterr()
    assert main(command(encoder, recordings, tmp_path / "x", "--precision", "bfloat16")) == 2
    assert "no instructions for bfloat16" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def recipe_of(
    encoder: Path, data: Path, *, layer: int = 1, num_codes: int = 8, max_features: int = 100_000
) -> UnitRecipe:
    return UnitRecipe(
        data=(data,),
        encoder=PublishedEncoder(name=str(encoder)),
        units=UnitFeatures(layer=layer),
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
        patched.setattr("pipelines.training.audio.units.file_features", lambda *args: 1 / 0)
        first = centroids(output)
        assert main(words) == 0
        assert centroids(output) == first
    capsys.readouterr()
    assert main([*words, "--window-s", "2", "--hop-s", "1.5"]) == 1
    assert "were kept with windows = [30.0, 29.0], now it is [2.0, 1.5]" in capsys.readouterr().err
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
        assert main([*words, *flags]) == 2
        assert message in capsys.readouterr().err
    assert main(["train", "audio", "--data", "d", "--output", "o", "--keep-features"]) == 2
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
