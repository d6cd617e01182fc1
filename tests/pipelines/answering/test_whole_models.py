"""A decoder that is not whole, or whose `config.json` is another's: one line at every door."""

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pipelines.cli import main

QUERY = "model.layers.0.self_attn.q_proj.weight"


def changed(source, folder, **fields):
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text()) | fields
    config = {name: value for name, value in config.items() if value != "left out"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def refused(words, capsys, sentence, output, code=1):
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert not output.exists()


@pytest.fixture
def doors(tmp_path):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    out = tmp_path / "out"

    def words(model):
        yield 1, ["caption", tmp_path / "a.png", "--model", model, "--workers", 0, "--quiet"]
        yield 2, ["quantize", model, "--to", "int8", "--write-anyway", "--output", out]

    return words


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"hidden_size": "left out"}, "does not fit its configuration"),
    ({"intermediate_size": "left out"}, "does not fit its configuration"),
    ({"num_hidden_layers": 3}, "weights are missing, such as model.layers.2."),
    ({"num_hidden_layers": 1}, "its config.json says 1 layers and its files hold model.layers.1."),
    ({"num_hidden_layers": -1}, "num_hidden_layers must lie between 1 and 10000, got -1"),
    ({"quantization_config": "int8"}, "quantization_config must be an object, got 'int8'"),
    ({"hidden_size": "many"}, "Field 'hidden_size' expected int, got str (value: 'many')"),
])  # fmt: skip
def test_a_config_of_another_decoder(random_model, tmp_path, capsys, doors, fields, sentence):
    model = changed(random_model, tmp_path / "model", **fields)
    for code, words in doors(model):
        is_said_first = "must " in sentence or "expected int" in sentence
        code = code if is_said_first else 1
        refused(words, capsys, sentence, tmp_path / "out", code)


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda t: t.pop(QUERY), f"1 weights are missing, such as {QUERY}"),
    (lambda t: t.update({QUERY: torch.zeros(3, 3)}), f"{QUERY} is [3, 3] instead of [32, 32]"),
], ids=["missing", "shape"])  # fmt: skip
def test_weights_that_are_not_whole(random_model, tmp_path, capsys, doors, change, sentence):
    """transformers would answer with random numbers in their place."""
    model = changed(random_model, tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    change(tensors)
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    for _, words in doors(model):
        refused(words, capsys, sentence, tmp_path / "out")


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000])
def test_a_config_that_is_none(random_model, tmp_path, capsys, doors, content):
    model = changed(random_model, tmp_path / "model")
    (model / "config.json").write_text(content)
    (model / "model.safetensors").write_bytes(b"")
    out = tmp_path / "out"
    for _, words in doors(model):
        refused(words, capsys, "the decoder cannot be loaded; expected", out)
    refused(["export", "onnx", model, out], capsys, "the decoder cannot be loaded; expected", out)


@pytest.mark.parametrize("content", ["{}", "[", '{"weight_map": 3}'])
def test_an_index_that_names_nothing(random_model, tmp_path, capsys, doors, content):
    model = changed(random_model, tmp_path / "model")
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(content)
    for _, words in doors(model):
        refused(words, capsys, "expected JSON with a weight_map", tmp_path / "out")


def test_an_export_looks_at_the_files_before_it_traces(random_model, tmp_path, capsys):
    """No encoder is traced, which took seconds, for a decoder that cannot be read."""
    out = tmp_path / "out"
    for name, content, sentence in (
        ("half", 100, "expected a safetensors file, whole"),
        ("none", None, "its weights are not there"),
    ):
        model = changed(random_model, tmp_path / name)
        path = model / "model.safetensors"
        data = path.read_bytes()
        path.unlink()
        if content is not None:
            path.write_bytes(data[:content])
        refused(["export", "onnx", model, out], capsys, sentence, out)
