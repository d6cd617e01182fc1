"""`dvse train audio --extend`: a bigger part that takes the place of the old one in a bundle."""

import numpy as np
import pytest
import soundfile
import torch
from small_hubert import save_small_hubert

import dvse
from dvse.audio.tokenizer import AudioTokenizer
from dvse.storage.bundle import Bundle
from dvse.storage.finding import find_bundle
from dvse.storage.part import Part
from pipelines.cli import main


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Recordings, an encoder, units of it imported with settings that training does not have."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    (folder / "recordings").mkdir()
    for number in range(4):
        tone = np.sin(np.arange(24_000) * (0.05 + 0.1 * number)) * (0.2 + 0.1 * number)
        noise = 0.05 * rng.standard_normal(24_000)
        soundfile.write(folder / "recordings" / f"{number}.wav", tone + noise, 16_000)
    save_small_hubert(folder / "encoder")
    np.save(folder / "centroids.npy", rng.standard_normal((5, 16)).astype(np.float32))
    words = ["import", "units", "--centroids", str(folder / "centroids.npy"), "--encoder"]
    words += [str(folder / "encoder"), "--layer", "1", "--convention", "slamkit"]
    assert main([*words, "--output", str(folder / "units")]) == 0
    tiny = find_bundle("tiny")
    text = ["import", "text", str(tiny / "text" / "spiece.model")]
    assert main([*text, "--output", str(folder / "text")]) == 0
    build = ["build-bundle", "--text", str(folder / "text"), "--audio", str(folder / "units")]
    assert main([*build, "--output", str(folder / "bundle")]) == 0
    return folder


def extending(work, output, *more):
    words = ["train", "audio", "--data", str(work / "recordings"), "--extend", str(work / "units")]
    return main([*words, "--output", str(output), *more])


def test_a_bundle_grows_as_documented(work, tmp_path, capsys):
    assert extending(work, tmp_path / "bigger", "--num-codes", "12") == 0
    assert "12 units in" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "bigger")]) == 0
    assert "extended          the first 5 codes are older" in capsys.readouterr().out
    old, new = (Part.load(folder) for folder in (work / "units", tmp_path / "bigger"))
    assert new.spec == old.spec
    assert new.spec["pad_samples"] == 40 and new.spec["merge_repeats"] is True
    assert new.provenance["extended"]["kept_codes"] == 5
    assert new.provenance["convention"] == "slamkit"
    before, after = (
        AudioTokenizer.from_spec(part.spec, part.folder).codebook.centroids for part in (old, new)
    )
    assert after.shape == (1, 12, 16) and torch.equal(after[:, :5], before)
    words = ["build-bundle", "--base", str(work / "bundle"), "--audio", str(tmp_path / "bigger")]
    assert main([*words, "--output", str(tmp_path / "bundle-2")]) == 0
    small, large = (Bundle.open(f).vocabulary for f in (work / "bundle", tmp_path / "bundle-2"))
    assert [line.split()[0] for line in small.diff(large)] == ["added:"]
    codes = np.arange(5)
    assert (small.audio_ids(codes) == large.audio_ids(codes)).all()
    recording = dvse.Audio(work / "recordings" / "1.wav")
    ids = dvse.load(tmp_path / "bundle-2").encode(recording).ids
    assert ids.max() >= small.num_ids  # a new unit names it better


def test_the_same_seed_gives_the_same_units(work, tmp_path):
    for name in ("one", "two"):
        assert extending(work, tmp_path / name, "--num-codes", "9") == 0
    one, two = ((tmp_path / n / "codebook.safetensors").read_bytes() for n in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--num-codes", "5"], 2, "--num-codes above 5"),
        (["--num-codes", "9", "--num-levels", "2"], 2, "--num-levels 1"),
        (["--num-codes", "9", "--layer", "2"], 2, "--layer is decided by the part"),
        (["--num-codes", "9", "--encoder", "x"], 2, "--encoder is decided by the part"),
        (["--num-codes", "9", "--mode", "minibatch"], 2, "use mode 'lloyd'"),
        (["--num-codes", "9000"], 1, "8995 codes"),
    ],
)
def test_what_is_refused(work, tmp_path, capsys, more, code, message):
    more = [*more, "--max-frames", "20000"]
    assert extending(work, tmp_path / "bigger", *more) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "bigger" / "part.json").exists()


def test_the_part_itself_is_never_written_over(work, tmp_path, capsys):
    before = (work / "units" / "part.json").read_bytes()
    assert extending(work, work / "encoder" / ".." / "units", "--num-codes", "9") == 2
    assert "another folder than the part that --extend names" in capsys.readouterr().err
    assert (work / "units" / "part.json").read_bytes() == before


def test_recordings_that_are_not_there(work, tmp_path, capsys):
    words = ["train", "audio", "--data", str(tmp_path / "no"), "--extend", str(work / "units")]
    assert main([*words, "--num-codes", "9", "--output", str(tmp_path / "x")]) == 1
    assert "no: expected a recording or a folder of them, there is none" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_part_that_is_not_there(work, tmp_path, capsys):
    words = ["train", "audio", "--data", str(work / "recordings"), "--extend", "nowhere"]
    assert main([*words, "--num-codes", "9", "--output", str(tmp_path / "x")]) == 1
    assert "no part.json" in capsys.readouterr().err
