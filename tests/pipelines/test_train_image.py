"""The command on a handful of pictures: same seed, killed and resumed, and what it refuses."""

import argparse
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image as PilImage

pytest.importorskip("vector_quantize_pytorch")

from dvse.errors import ConfigError, TrainingError
from dvse.image.tokenizer import ImageTokenizer
from dvse.items import Image
from dvse.part import Part
from pipelines import image_training
from pipelines.commands import train_image

SMALL = (
    *("--num-codes", "16", "--dim", "16", "--depth", "1", "--num-heads", "2"),
    *("--stem-widths", "4,8", "--decoder-widths", "8,8,4", "--batch-size", "8", "--threads", "1"),
    *("--picture-size", "16", "--epochs", "2", "--code-dim", "4"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Forty pictures of two kinds: stripes across and stripes down."""
    rng = np.random.default_rng(0)
    cells, labels = [], []
    for i in range(40):
        stripes = np.repeat(rng.integers(0, 256, (4, 3), dtype=np.uint8), 4, 0)
        pixels = np.broadcast_to(stripes[:, None], (16, 16, 3))
        file = io.BytesIO()
        PilImage.fromarray(pixels.transpose(1, 0, 2) if i % 2 else pixels).save(file, "PNG")
        cells.append({"bytes": file.getvalue(), "path": None})
        labels.append("down" if i % 2 else "across")
    path = tmp_path_factory.mktemp("data") / "stripes.parquet"
    pq.write_table(pa.table({"image": cells, "label": labels}), path)
    return path


@pytest.fixture(autouse=True)
def keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def train(data, output, *flags, rows="0:32"):
    parser = argparse.ArgumentParser()
    train_image.add_arguments(parser)
    words = ["--data", str(data), "--rows", rows, *SMALL, "--output", str(output), *flags]
    assert train_image.run(parser.parse_args(words)) == 0
    return Part.load(output, modality="image")


def weights(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.safetensors"))}


def test_a_part_that_tokenises(data, tmp_path, capsys):
    flags = ["--validation-rows", "32:40", "--label-column", "label", "--label-weight", "0.1"]
    part = train(data, tmp_path / "part", *flags, "--data-licence", "made here")
    tokenizer = ImageTokenizer.from_spec(part.spec, part.folder)
    (chunk,) = tokenizer.preparer.prepare(Image(np.zeros((16, 32, 3), np.uint8)))
    assert tokenizer.encode([chunk])[0].shape == (32, 1) and chunk.grid == (4, 8)
    assert 0 < part.metrics["codes_used"] <= 1 and part.metrics["pictures"] == 8
    assert part.metrics["psnr_db"] > 5
    assert part.provenance["labels_used"] == ["across", "down"]
    assert part.provenance["data"]["licence"] == "made here"
    assert part.provenance["data"]["name"] == "stripes.parquet"
    assert str(tmp_path) not in json.dumps(dict(part.provenance))
    log = [json.loads(line) for line in (part.folder / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == [1, 2]
    assert log[0]["validation"]["accuracy"] is not None
    assert "psnr_db" in capsys.readouterr().out


def test_same_seed_same_weights(data, tmp_path):
    train(data, tmp_path / "a")
    train(data, tmp_path / "b")
    train(data, tmp_path / "c", "--seed", "1")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


def test_killed_and_resumed_ends_the_same(data, tmp_path, monkeypatch):
    train(data, tmp_path / "whole")
    steps = []
    step = image_training._step

    def killed(*args):
        if len(steps) == 6:  # in the middle of the second epoch
            raise KeyboardInterrupt
        steps.append(1)
        return step(*args)

    monkeypatch.setattr(image_training, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "killed")
    assert not (tmp_path / "killed" / "part.json").exists()
    monkeypatch.setattr(image_training, "_step", step)
    train(data, tmp_path / "killed", "--resume")
    assert weights(tmp_path / "whole") == weights(tmp_path / "killed")
    with pytest.raises(TrainingError, match="seed"):
        train(data, tmp_path / "killed", "--resume", "--seed", "5")


def test_training_lowers_the_loss(data, tmp_path):
    part = train(data, tmp_path / "part", "--epochs", "20", "--learning-rate", "0.01")
    pixels = [line["pixels"] for line in part.provenance["log"]]
    assert sum(pixels[-4:]) < 0.92 * sum(pixels[:4])


def test_refusals(data, tmp_path):
    output = tmp_path / "part"
    with pytest.raises(TrainingError, match="outside the training rows"):
        train(data, output, "--validation-rows", "30:40")
    with pytest.raises(TrainingError, match="batch"):
        train(data, output, rows="0:4")
    with pytest.raises(TrainingError, match="labels"):
        train(data, output, "--label-weight", "0.1")
    with pytest.raises(TrainingError, match="no such"):
        train(tmp_path / "absent", output)
    with pytest.raises(ConfigError, match="divide"):
        train(data, output, "--picture-size", "18")
    with pytest.raises(ConfigError):
        train(data, output, "--epochs", "0")
    with pytest.raises(ConfigError, match="timm"):
        train(data, output, "--encoder", "no_such_vit")
    with pytest.raises(ConfigError, match="codes"):
        train(data, output, "--num-codes", "0")
    with pytest.raises(ConfigError, match="decoder widths"):
        train(data, output, "--decoder-widths", "8,4")
    with pytest.raises(TrainingError, match="512 for 4096"):
        train(data, output, "--num-codes", "4096")
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(TrainingError, match="output folder"):
        train(data, blocked / "part")
    assert not (output / "part.json").exists()
