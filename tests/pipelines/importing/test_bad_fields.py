"""Fields, files and tensors that libraries take, complain about at length, or fail with: one line.

Each through the command, whose answer is a sentence and an exit code, and whose folder stays away.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    ChameleonVQVAE,
    ChameleonVQVAEConfig,
    MimiConfig,
    MimiModel,
)

from dvse.errors import UnreadableFileError
from pipelines.cli import main
from pipelines.importing.new_folder import new_folder


@pytest.fixture(scope="module")
def hubert(save_hubert, tmp_path_factory):
    folder = save_hubert(tmp_path_factory.mktemp("published") / "hubert")
    np.save(folder.parent / "good.npy", np.eye(8, 12, dtype=np.float32))
    return folder


def changed(source, folder, file="config.json", **fields):
    shutil.copytree(source, folder)
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


def refused(words, output, capsys, sentence, code):
    before = sorted(output.parent.iterdir())
    capsys.readouterr()
    assert main([*map(str, words), "--output", str(output)]) == code
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert sentence in line and not said.out
    assert sorted(output.parent.iterdir()) == before


def units(encoder, *more):
    words = ["import", "units", "--centroids", encoder.parent / "good.npy", "--encoder", encoder]
    return [*words, "--layer", "1", "--convention", "fairseq", *more]


def encoder(source, *more):
    return ["import", "encoder", source, "--pre-norm", "no", "--normalize", "no", *more]


@pytest.mark.parametrize("fields", [
    {"conv_stride": [0] * 7}, {"num_attention_heads": -2}, {"num_hidden_layers": 10**9},
    {"hidden_size": 0}, {"conv_dim": [0] * 7},
], ids=lambda fields: next(iter(fields)))  # fmt: skip
@pytest.mark.parametrize("command", [units, encoder])
def test_sizes_that_transformers_takes(hubert, tmp_path, capsys, command, fields):
    shutil.copy(hubert.parent / "good.npy", tmp_path)
    bad = changed(hubert, tmp_path / "bad", **fields)
    sentence = f"expected a config.json with {next(iter(fields))} of 1.."
    refused(command(bad), tmp_path / "out", capsys, sentence, 1)


def test_weights_of_another_model_are_not_told_in_a_table(hubert, tmp_path, capsys):
    shutil.copy(hubert.parent / "good.npy", tmp_path)
    for name, fields, sentence in (
        ("deeper", {"num_hidden_layers": 3}, "tensors are missing, such as 'encoder.layers.2."),
        ("wider", {"intermediate_size": 20}, "its config.json says [20"),
        ("flatter", {"num_hidden_layers": 1}, "have no place in what its config.json describes"),
        ("wavlm", {"model_type": "wavlm"}, "tensors are missing, such as"),
    ):
        bad = changed(hubert, tmp_path / name, **fields)
        refused(units(bad), tmp_path / "out", capsys, sentence, 1)


def test_the_width_is_known_before_weights_are_read(hubert, tmp_path, capsys):
    bad = changed(hubert, tmp_path / "bad")
    (bad / "model.safetensors").write_bytes(b"")
    np.save(tmp_path / "good.npy", np.eye(8, 13, dtype=np.float32))
    refused(units(bad), tmp_path / "out", capsys, "centroids of 12 channels, as layer 1 has", 1)


@pytest.mark.parametrize(("index", "sentence"), [
    ('{"weight_map": {"a": "part-1.safetensors"}}', "names it, and it is not there"),
    ('{"weight_map": {"a": "../hubert/model.safetensors"}}', "expected names of files beside it"),
    ("{}", "expected JSON with a weight_map"), ("[" * 100_000, "expected JSON with a weight_map"),
])  # fmt: skip
def test_indexes_of_several_files(hubert, tmp_path, capsys, index, sentence):
    shutil.copy(hubert.parent / "good.npy", tmp_path)
    bad = changed(hubert, tmp_path / "bad")
    (bad / "model.safetensors").unlink()
    (bad / "model.safetensors.index.json").write_text(index)
    refused(units(bad), tmp_path / "out", capsys, sentence, 1)


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", "pytorch_model.bin: expected a file of torch's tensors"),
    (b"version https://git-lfs", "pytorch_model.bin: expected a file of torch's tensors"),
    (None, "its weights are not there; expected model.safetensors or pytorch_model.bin"),
])  # fmt: skip
def test_weights_that_are_none(hubert, tmp_path, capsys, content, sentence):
    shutil.copy(hubert.parent / "good.npy", tmp_path)
    bad = changed(hubert, tmp_path / "bad")
    (bad / "model.safetensors").unlink()
    if content is not None:
        (bad / "pytorch_model.bin").write_bytes(content)
    refused(units(bad), tmp_path / "out", capsys, sentence, 1)


def test_a_rate_that_the_files_do_not_mean(hubert, tmp_path, capsys):
    """0 was taken for nothing said, and gave 16,000."""
    shutil.copy(hubert.parent / "good.npy", tmp_path)
    for rate in (0, -1, 10**30):
        bad = changed(
            hubert, tmp_path / f"bad{rate}", "preprocessor_config.json", sampling_rate=rate
        )
        sentence = f"received sampling_rate {rate}"
        refused(units(bad), tmp_path / "out", capsys, sentence, 1)
        refused(encoder(bad), tmp_path / "out", capsys, sentence, 1)
    sentence = "expected a sample_rate_hz of 1000..200000, received 0"
    refused(encoder(hubert, "--sample-rate-hz", 0), tmp_path / "out", capsys, sentence, 2)


@pytest.mark.parametrize(("option", "sentence"), [
    (("--variance-floor", "nan"), "expected a variance_floor in 0..1, received nan"),
    (("--variance-floor", "0"), "expected a variance_floor in 0..1, received 0.0"),
    (("--pad-samples", "-1"), "expected pad_samples of 0..1048576, received -1"),
    (("--num-heads", "0"), "expected num_heads of at least 1, received 0"),
])  # fmt: skip
def test_settings_are_checked_first(hubert, tmp_path, capsys, option, sentence):
    words = units(hubert, *option)
    words[3] = tmp_path / "nothing.npy"
    refused(words, tmp_path / "out", capsys, sentence, 2)


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda t: {"model": {n: v.flatten() for n, v in t.items()}}, "shapes that no speech encoder"),
    (lambda t: {"model": {n: torch.zeros(()) for n in t}}, "shapes that no speech encoder"),
    (lambda t: {"model": {n: v.to(torch.int8) for n, v in t.items()}}, "expected floating-point"),
    (lambda t: {"model": {n: v.to(torch.complex64) for n, v in t.items()}}, "is complex, sparse"),
    (lambda t: {"model": {n: v.to("meta") for n, v in t.items()}}, "or without values"),
    (lambda t: {"model": t, "cfg": {"sample_rate": "fast"}}, "sample_rate as int, received 'fast'"),
    (lambda t: {"model": t, "cfg": {"sample_rate": 0}}, "sample_rate_hz of 1000..200000"),
], ids=["flat", "scalars", "integers", "complex", "meta", "rate", "no rate"])  # fmt: skip
def test_checkpoints_of_strange_tensors(hubert, tmp_path, capsys, change, sentence):
    torch.save(change(load_file(hubert / "model.safetensors")), tmp_path / "bad.pt")
    words = encoder(tmp_path / "bad.pt", "--num-heads", 2)
    refused(words, tmp_path / "out", capsys, sentence, 2 if "_hz" in sentence else 1)


def test_a_setting_that_is_no_answer(hubert, tmp_path, capsys):
    tensors = load_file(hubert / "model.safetensors")
    torch.save({"model": tensors, "cfg": {"normalize": "maybe"}}, tmp_path / "bad.pt")
    words = ["import", "encoder", tmp_path / "bad.pt", "--num-heads", 2, "--pre-norm", "no"]
    refused(words, tmp_path / "out", capsys, "normalize as bool, received 'maybe'", 1)


def test_a_checkpoint_inside_itself_and_json_without_an_end(hubert, tmp_path, capsys):
    inside: dict = {}
    inside["model"] = inside
    torch.save(inside, tmp_path / "bad.pt")
    refused(encoder(tmp_path / "bad.pt"), tmp_path / "out", capsys, "expected tensors, at the", 1)
    bad = changed(hubert, tmp_path / "bad")
    (bad / "config.json").write_text("[" * 100_000)
    for command in ("encoder", "image", "codec"):
        more = ["--num-levels", 1, "--chunk-s", 1] if command == "codec" else []
        refused(["import", command, bad, *more], tmp_path / "out", capsys, "expected JSON", 1)


BOOK = "quantize.embedding.weight"


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda t: {n: v.flatten() for n, v in t.items()}, "tensors of another shape"),
    (lambda t: {n: v.int() for n, v in t.items()}, "expected floating-point numbers in"),
    (lambda t: t | {BOOK: t[BOOK].to_sparse()}, f"received '{BOOK}', which is complex, sparse"),
    (lambda t: t | {BOOK: t[BOOK].to(torch.complex64)}, "plain tensors of real numbers"),
    (lambda t: t | {BOOK: torch.zeros(())}, "expected codes of 5 channels"),
    (lambda t: t | {BOOK: t[BOOK].long()}, "floating point, received torch.int64 [64, 5]"),
    (lambda t: t | {BOOK: t[BOOK] * 1e30}, "expected finite codes of up to 1e+15"),
], ids=["flat", "integers", "sparse", "complex", "scalar", "whole", "huge"])  # fmt: skip
def test_pictures_of_strange_tensors(tmp_path, capsys, change, sentence):
    shape = {"channel_multiplier": [1, 2], "num_res_blocks": 1, "latent_channels": 8}
    config = ChameleonVQVAEConfig(
        base_channels=32, embed_dim=5, num_embeddings=64, resolution=32, **shape
    )
    torch.manual_seed(0)
    ChameleonVQVAE(config).save_pretrained(tmp_path / "bad")
    tensors = load_file(tmp_path / "bad" / "model.safetensors")
    (tmp_path / "bad" / "model.safetensors").unlink()
    torch.save(change(tensors), tmp_path / "bad" / "pytorch_model.bin")
    words = ["import", "image", tmp_path / "bad", "--mean", "0,0,0", "--std", "1,1,1"]
    words += ["--resize", "32", "--size", "32", "--resample", "bicubic"]
    refused(words, tmp_path / "out", capsys, sentence, 1)


@pytest.mark.parametrize("option", ["--resize", "--size", "--num-heads", "--max-pixels"])
def test_sizes_of_pictures(tmp_path, capsys, option):
    words = ["import", "image", tmp_path / "nothing.pth", option, "0"]
    sentence = "expected a whole number of at least 1 as " + option[2:].replace("-", "_")
    refused(words, tmp_path / "out", capsys, sentence, 2)


def test_codecs_that_load_and_do_not_encode(tmp_path, capsys):
    config = MimiConfig(
        sampling_rate=8000,
        num_filters=4,
        hidden_size=32,
        upsampling_ratios=[5, 4, 2],
        frame_rate=100,
        codebook_size=32,
        codebook_dim=16,
        vector_quantization_hidden_dimension=16,
        num_quantizers=5,
        upsample_groups=32,
        num_hidden_layers=1,
        intermediate_size=32,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    torch.manual_seed(0)
    mimi = tmp_path / "mimi"
    MimiModel(config).save_pretrained(mimi)
    words = ["--num-levels", "2", "--chunk-s", "1"]
    bad = changed(mimi, tmp_path / "bad", pad_mode="x")
    sentence = "a config.json with which its weights encode nothing"
    refused(["import", "codec", bad, *words], tmp_path / "out", capsys, sentence, 1)


def test_a_file_that_cannot_be_read_is_not_a_folder_that_cannot_be_written(tmp_path):
    sentence = r"/far/km\.bin: cannot be read; Permission"
    with (
        pytest.raises(UnreadableFileError, match=sentence),
        new_folder(tmp_path / "out", "the part"),
    ):
        raise PermissionError(13, "Permission denied", "/far/km.bin")
    assert not list(tmp_path.iterdir())
