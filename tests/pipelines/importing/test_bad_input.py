"""What is wrong costs one sentence that names it, and leaves nothing half written."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import HubertConfig, HubertModel

from pipelines.cli import main

KM = Path(__file__).parent / "km"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A HuBERT of 12 channels, which the dumps' centroids have; others, and a torn checkpoint."""
    folder = tmp_path_factory.mktemp("published")
    config = HubertConfig(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    torch.manual_seed(0)
    HubertModel(config).save_pretrained(folder / "hubert")
    (folder / "hubert" / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    centroids = np.random.default_rng(0).standard_normal((8, 12)).astype(np.float32)
    np.save(folder / "good.npy", centroids)
    np.save(folder / "wide.npy", np.zeros((8, 16), np.float32))
    centroids[3, 5] = np.nan
    np.save(folder / "nan.npy", centroids)
    (folder / "half.npy").write_bytes((folder / "good.npy").read_bytes()[:300])
    torch.save({"model": HubertModel(config).state_dict()}, folder / "whole.pt")
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
}


def refused(capsys, output, words, sentence, code=1):
    before = sorted(output.parent.iterdir())
    assert main([*words, "--output", str(output)]) == code
    said = capsys.readouterr().err.splitlines()
    (line,) = [line for line in said if line and not line.startswith("Loading weights")]
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
