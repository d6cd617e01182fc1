"""What is wrong costs one sentence that names it, and leaves nothing half written."""

import argparse
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import HubertModel

from pipelines.cli import main

KM = Path(__file__).parent / "km"


class Runs:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.fixture(scope="module")
def folder(save_hubert, tmp_path_factory):
    """A HuBERT of 12 channels, which the dumps' centroids have; others, and a torn checkpoint."""
    folder = tmp_path_factory.mktemp("published")
    save_hubert(folder / "hubert")
    centroids = np.random.default_rng(0).standard_normal((8, 12)).astype(np.float32)
    np.save(folder / "good.npy", centroids)
    np.save(folder / "wide.npy", np.zeros((8, 16), np.float32))
    np.save(folder / "large.npy", 1e20 * centroids)
    save_file({"a": torch.zeros(8, 12)}, folder / "metric.safetensors", {"metric": "angle"})
    torch.save(torch.zeros(8, 12).to_sparse(), folder / "sparse.pt")
    torch.save(torch.zeros(8, 12, dtype=torch.complex64), folder / "complex.pt")
    torch.save(Runs(), folder / "hostile.pt")
    centroids[3, 5] = np.nan
    np.save(folder / "nan.npy", centroids)
    with zipfile.ZipFile(folder / "bytes.npz", "w") as archive:
        archive.writestr("a.npy", "no array")
    with warnings.catch_warnings(action="ignore"):  # torch calls them a prototype
        ragged = torch.nested.nested_tensor([torch.zeros(3), torch.zeros(2)])
    torch.save({"a": ragged}, folder / "nested.pt")
    (folder / "half.npy").write_bytes((folder / "good.npy").read_bytes()[:300])
    torch.save(
        {"model": HubertModel.from_pretrained(folder / "hubert").state_dict()}, folder / "whole.pt"
    )
    (folder / "half.pt").write_bytes((folder / "whole.pt").read_bytes()[:20_000])
    return folder


CENTROIDS = {
    str(
        KM / "hostile_system.bin"
    ): "hostile_system.bin: expected a dump of k-means and nothing else",
    str(KM / "hostile_eval.bin"): "hostile_eval.bin: expected a dump of k-means and nothing else",
    str(KM / "hostile_object_array.bin"): "received an object array",
    str(KM / "hostile_truncated.bin"): "expected a joblib dump of k-means, whole",
    "wide.npy": "wide.npy: expected centroids of 12 channels, as layer 1 has them, received 16",
    "nan.npy": "nan.npy: expected finite centroids, received NaN or infinity",
    "half.npy": "half.npy: expected an array of numbers",
    "large.npy": "large.npy: expected centroids of up to 1e+15",
    "metric.safetensors": "expected metric 'euclidean' or 'cosine', received 'angle'",
    "sparse.pt": "expected one matrix of centroids",
    "complex.pt": "expected one matrix of centroids",
    "bytes.npz": "bytes.npz: expected one matrix of centroids",
    "nested.pt": "nested.pt: expected one matrix of centroids",
    "hostile.pt": "hostile.pt: expected a torch file of tensors alone, received one that names",
}


def refused(capsys, output, words, sentence, code=1):
    before = sorted(output.parent.iterdir())
    capsys.readouterr()
    assert main([*words, "--output", str(output)]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dvse ") and sentence in line
    assert sorted(output.parent.iterdir()) == before


@pytest.mark.parametrize("centroids", CENTROIDS, ids=lambda path: Path(path).name)
def test_centroids(folder, tmp_path, capsys, monkeypatch, centroids):
    for name in ("system", "popen"):
        monkeypatch.setattr(os, name, lambda *_: pytest.fail("it was run"))
    words = ["--centroids", str(folder / centroids), "--encoder", str(folder / "hubert")]
    words = ["import", "units", *words, "--layer", "1", "--convention", "fairseq"]
    refused(capsys, tmp_path / "part", words, CENTROIDS[centroids])


def test_a_layer_that_the_checkpoint_does_not_have(folder, tmp_path, capsys):
    words = ["--centroids", str(folder / "good.npy"), "--encoder", str(folder / "hubert")]
    words = ["import", "units", *words, "--layer", "9", "--convention", "fairseq"]
    refused(capsys, tmp_path / "part", words, "expected a layer of 0..2, received 9", code=2)


def _without(name):
    def change(tensors):
        del tensors[name]

    return change


def _with(name, value):
    def change(tensors):
        tensors[name] = value

    return change


QUERY = "encoder.layers.0.attention.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_without(QUERY), f"1 tensors are missing, such as '{QUERY}'"),
        (_with(QUERY, torch.zeros(3, 3)), f"says [12, 12] of tensor '{QUERY}', received [3, 3]"),
        (_with(QUERY, torch.full((12, 12), torch.nan)), f"tensor '{QUERY}' holds NaN or infinity"),
        (_with("more", Runs()), "a pickle that names something else, which was not run"),
    ],
    ids=["missing", "shape", "nan", "hostile"],
)
def test_an_encoder_directory_that_is_not_whole(
    folder, tmp_path, capsys, monkeypatch, change, sentence
):
    """transformers would fill up what is missing with random numbers, and go on."""
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (encoder / name).write_bytes((folder / "hubert" / name).read_bytes())
    tensors = dict(HubertModel.from_pretrained(folder / "hubert").state_dict())
    change(tensors)
    torch.save(tensors, encoder / "pytorch_model.bin")
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("it was run"))
    words = ["--centroids", str(folder / "good.npy"), "--encoder", str(encoder), "--layer", "1"]
    words = ["import", "units", *words, "--convention", "fairseq"]
    refused(capsys, tmp_path / "part", words, sentence)


def test_weights_of_two_kinds_and_names_of_old(folder, tmp_path):
    """Of safetensors and a pickle the first counts; old names of a weight norm are known."""
    words = ["--centroids", str(folder / "good.npy"), "--layer", "1", "--convention", "fairseq"]
    tensors = dict(HubertModel.from_pretrained(folder / "hubert").state_dict())
    found = {}
    for kind in ("both", "old"):
        encoder = tmp_path / kind
        encoder.mkdir()
        names = ["config.json", "preprocessor_config.json"]
        for name in [*names, *(["model.safetensors"] if kind == "both" else [])]:
            (encoder / name).write_bytes((folder / "hubert" / name).read_bytes())
        others = {
            name.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            ): value + (kind == "both")
            for name, value in tensors.items()
        }
        torch.save(others, encoder / "pytorch_model.bin")
        output = tmp_path / f"{kind}-part"
        assert (
            main(["import", "units", *words, "--encoder", str(encoder), "--output", str(output)])
            == 0
        )
        found[kind] = (output / "encoder.safetensors").read_bytes()
    assert found["both"] == found["old"]


@pytest.mark.parametrize(
    ("content", "sentence", "code"),
    [
        ("[]", "expected do_normalize true or false", 1),
        ("{", "expected do_normalize true or false", 1),
        ('{"do_normalize": "maybe"}', "received do_normalize 'maybe'", 1),
        ('{"do_normalize": true, "sampling_rate": "fast"}', "received sampling_rate 'fast'", 1),
        ('{"feature_size": 1}', "say --normalize yes|no", 2),
    ],
)
def test_what_says_nothing_of_normalisation(folder, tmp_path, capsys, content, sentence, code):
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (encoder / name).write_bytes((folder / "hubert" / name).read_bytes())
    (encoder / "preprocessor_config.json").write_text(content)
    words = ["--centroids", str(folder / "good.npy"), "--encoder", str(encoder), "--layer", "1"]
    words = ["import", "units", *words, "--convention", "fairseq"]
    refused(capsys, tmp_path / "part", words, sentence, code=code)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (("--chunk-s", "nan"), "expected a chunk_s of 0 to"),
        (("--chunk-s", "inf"), "expected a chunk_s of 0 to"),
        (("--chunk-s", "0.001"), "expected a chunk_s of at least 0.025, one frame"),
        (("--pad-samples", "99999999999"), "expected pad_samples of 0.."),
        (("--sample-rate-hz", "0"), "expected a sample_rate_hz of 1000..200000"),
        (("--normalize", "file", "--normalize-over", "window"), "leave --normalize-over"),
    ],
)
def test_settings_that_no_recording_has(folder, tmp_path, capsys, option, sentence):
    words = ["--centroids", str(folder / "good.npy"), "--encoder", str(folder / "hubert")]
    words = ["import", "units", *words, "--layer", "1", "--convention", "fairseq", *option]
    refused(capsys, tmp_path / "part", words, sentence, code=2)


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF1234WAVEfmt ", b"\x93NUMPY\x01\x00", (KM / "hostile_system.bin").read_bytes()],
    ids=["empty", "wav", "npy", "pickle"],
)
@pytest.mark.parametrize("command", ["encoder", "image", "units"])
def test_files_that_are_no_checkpoint(folder, tmp_path, capsys, monkeypatch, command, content):
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("it was run"))
    (tmp_path / "model.pt").write_bytes(content)
    words = ["import", command, str(tmp_path / "model.pt")]
    if command == "units":
        words = ["import", "units", "--centroids", str(folder / "good.npy"), "--layer", "1"]
        words += ["--encoder", str(tmp_path / "model.pt"), "--convention", "fairseq"]
    sentence = "model.pt: expected a checkpoint of torch or safetensors, received a file that"
    refused(capsys, tmp_path / "out", words, sentence)


def test_a_name_of_the_hub_that_cannot_be_had(folder, tmp_path, capsys, monkeypatch):
    """Asked for once; transformers would ask five times, and say so each time."""
    import huggingface_hub

    asked = []

    def snapshot_download(name, **options):
        asked.append(name)
        raise OSError("no way to the Hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    words = ["--centroids", str(folder / "good.npy"), "--encoder", "somebody/hubert"]
    words = ["import", "units", *words, "--layer", "1", "--convention", "fairseq"]
    sentence = (
        "somebody/hubert: expected a directory with a transformers model, or a Hub name; no way"
    )
    refused(capsys, tmp_path / "part", words, sentence)
    assert asked == ["somebody/hubert"]


def test_an_encoder_that_is_not_there(folder, tmp_path, capsys):
    words = ["--centroids", str(folder / "good.npy"), "--encoder", str(tmp_path / "nowhere")]
    words = ["import", "units", *words, "--layer", "1", "--convention", "fairseq"]
    refused(capsys, tmp_path / "part", words, "expected a directory with a transformers model")


def test_every_convention_can_be_said():
    from pipelines.commands.import_units import add_arguments
    from pipelines.importing.units import CONVENTIONS

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    (option,) = [one for one in parser._actions if one.dest == "convention"]
    assert sorted(option.choices) == sorted(CONVENTIONS)


@pytest.mark.parametrize("command", ["encoder", "units"])
def test_half_a_checkpoint(folder, tmp_path, capsys, command):
    words = ["import", "encoder", str(folder / "half.pt"), "--pre-norm", "no", "--normalize", "no"]
    if command == "units":
        words = ["import", "units", "--centroids", str(folder / "good.npy"), "--layer", "1"]
        words += ["--encoder", str(folder / "half.pt"), "--convention", "fairseq"]
        words += ["--normalize", "no", "--pre-norm", "no"]
    refused(capsys, tmp_path / "out", words, "half.pt: expected a checkpoint of torch")


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "tf32"])
def test_a_precision_that_the_processor_does_not_have(tmp_path, capsys, monkeypatch, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    (tmp_path / "a.txt").write_text("a")
    words = ["tokenize", str(tmp_path / "a.txt"), "--bundle", "tiny", "--precision", precision]
    sentence = "computed by CUDA cards only" if precision == "tf32" else "has no instructions for"
    refused(capsys, tmp_path / "tokens", words, sentence, code=2)
