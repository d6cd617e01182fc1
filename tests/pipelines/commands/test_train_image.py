"""The command on a handful of pictures: same seed, killed and resumed, and what it refuses."""

import argparse
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image as PilImage

pytest.importorskip("vector_quantize_pytorch")
pytest.importorskip("accelerate")

import timm
from safetensors.torch import load_file, save_file

from dvse.errors import BundleFormatError, BundleNotFoundError, ConfigError, TrainingError
from dvse.image.quantizer import LatticeQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.items import Image
from dvse.storage.part import Part
from pipelines.commands import train_image
from pipelines.training.image import loop
from pipelines.training.image.codec import CodecConfig, ImageCodec
from pipelines.training.image.settings import DecoderShape, QuantizerConfig
from pipelines.training.image.start import continue_from

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
def keep_process_state():
    """Threads, and accelerate's idea of precision, are the whole process's."""
    from accelerate.state import AcceleratorState

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    AcceleratorState._reset_state(True)


def train(data, output, *flags, rows="0:32"):
    parser = argparse.ArgumentParser()
    train_image.add_arguments(parser)
    words = ["--data", str(data), "--rows", rows, *SMALL, "--output", str(output), *flags]
    assert train_image.run(parser.parse_args(words)) == 0
    return Part.load(output, modality="image")


def same_pictures(folder):
    file = io.BytesIO()
    PilImage.new("RGB", (16, 16), (90, 30, 7)).save(file, "PNG")
    path = folder / "same.parquet"
    pq.write_table(pa.table({"image": [{"bytes": file.getvalue(), "path": None}] * 40}), path)
    return path


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


@pytest.mark.parametrize("flags", [(), ("--checkpoint-steps", "1"), ("--accumulate", "2")])
def test_killed_and_resumed_ends_the_same(data, tmp_path, monkeypatch, flags):
    train(data, tmp_path / "whole", *flags)
    steps = []
    step = loop.take_step

    def killed(*args):
        if len(steps) == 6:  # in the middle of the second epoch
            raise KeyboardInterrupt
        steps.append(1)
        return step(*args)

    monkeypatch.setattr(loop, "take_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "killed", *flags)
    assert not (tmp_path / "killed" / "part.json").exists()
    monkeypatch.setattr(loop, "take_step", step)
    train(data, tmp_path / "killed", "--resume", *flags)
    assert weights(tmp_path / "whole") == weights(tmp_path / "killed")
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]
    with pytest.raises(TrainingError, match="seed"):
        train(data, tmp_path / "killed", "--resume", *flags, "--seed", "5")
    with pytest.raises(TrainingError, match="kind"):
        train(data, tmp_path / "killed", "--resume", *flags, "--quantizer", "ema")


@pytest.mark.slow
def test_killed_from_outside_at_any_moment(data, tmp_path):
    """SIGKILL, again and again, until the run comes through."""
    words = [sys.executable, "-m", "pipelines.cli", "train", "image", "--data", str(data)]
    words += ["--rows", "0:32", *SMALL, "--checkpoint-steps", "1", "--resume", "--epochs", "30"]
    began = time.monotonic()
    train(data, tmp_path / "whole", "--epochs", "30")
    longest_wait = (time.monotonic() - began) / 2
    rng, kills = np.random.default_rng(0), 0
    while not (tmp_path / "killed" / "part.json").exists():
        run = subprocess.Popen([*words, "--output", str(tmp_path / "killed")])
        deadline = time.monotonic() + 60
        while run.poll() is None and not (tmp_path / "killed" / "checkpoint.pt").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(rng.uniform(0, longest_wait))
        if run.poll() is None and kills < 4:
            run.kill()
            kills += 1
        run.wait()
    assert kills > 0
    assert weights(tmp_path / "whole") == weights(tmp_path / "killed")


@pytest.mark.parametrize(
    ("flags", "num_codes", "num_levels"),
    [
        (("--quantizer", "ema", "--num-levels", "2"), 16, 2),
        (("--num-levels", "3"), 16, 3),
        (("--quantizer", "simvq"), 16, 1),
        (("--quantizer", "fsq", "--lattice", "4,3,3"), 36, 1),
    ],
)
def test_every_quantizer_ends_as_a_tokenizer(data, tmp_path, flags, num_codes, num_levels):
    part = train(data, tmp_path / "part", *flags, "--validation-rows", "32:40")
    tokenizer = ImageTokenizer.from_spec(part.spec, part.folder)
    assert (tokenizer.num_codes, tokenizer.num_levels) == (num_codes, num_levels)
    assert isinstance(tokenizer.quantizer, LatticeQuantizer) == ("fsq" in flags)
    (chunk,) = tokenizer.preparer.prepare(Image(np.zeros((16, 16, 3), np.uint8)))
    (codes,) = tokenizer.encode([chunk])
    assert codes.shape == (16, num_levels)
    assert tokenizer.decode(codes, (4, 4)).shape == (16, 16, 3)
    assert len(part.metrics.get("levels", [0])) == num_levels


def test_an_encoder_learns_on_under_codes_that_stay(data, tmp_path):
    labels = ("--label-column", "label", "--label-weight", "0.1", "--validation-rows", "32:40")
    first = train(data, tmp_path / "first", *labels)
    start = ("--start", str(first.folder), "--depth", "3")
    second = train(data, tmp_path / "second", *labels, *start, "--epochs", "15")
    before, after = (weights(part.folder) for part in (first, second))
    for name in ("codebook.safetensors", "decoder.safetensors"):
        assert before[name] == after[name]
    projections = [load_file(p.folder / "projections.safetensors") for p in (first, second)]
    for name, tensor in projections[0].items():
        assert torch.equal(tensor, projections[1][name]) == name.startswith("project_out")
    assert second.spec["encoder"]["options"]["depth"] == 3
    assert second.provenance["start"]["log"] == first.provenance["log"]
    assert second.provenance["recipe"]["start"] == "first"
    losses = [line["label"] for line in second.provenance["log"]]
    assert sum(losses[-3:]) < sum(losses[:3])


@pytest.mark.parametrize(
    ("flags", "quantizer"),
    [
        ((), QuantizerConfig(num_codes=16, code_dim=4)),
        (
            ("--quantizer", "ema", "--num-levels", "2"),
            QuantizerConfig(kind="ema", num_codes=16, code_dim=4, num_levels=2),
        ),
        (
            ("--quantizer", "fsq", "--lattice", "4,3,3"),
            QuantizerConfig(kind="fsq", lattice=(4, 3, 3)),
        ),
    ],
)
def test_added_blocks_change_no_code_at_first(data, tmp_path, flags, quantizer):
    part = train(data, tmp_path / "part", *flags, "--epochs", "1")
    tokenizer = ImageTokenizer.from_spec(part.spec, part.folder)
    shape = tokenizer.encoder.config
    encoder = replace(shape, options={**shape.options, "depth": 3})
    codec = ImageCodec(
        CodecConfig(encoder=encoder, quantizer=quantizer, decoder=DecoderShape(widths=(8, 8, 4)))
    )
    continue_from(codec, tokenizer)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    (chunk,) = tokenizer.preparer.prepare(Image(pixels))
    (codes,) = tokenizer.encode([chunk])
    found = codec.eval()(torch.from_numpy(pixels)[None])
    assert found.codes.flatten(1, 2)[0].tolist() == codes.tolist()
    again = codec.encoder.denormalize(found.rebuilt)[0].numpy()
    np.testing.assert_allclose(again, tokenizer.decode(codes, (4, 4)), atol=1)


def test_starts_that_do_not_fit(data, tmp_path):
    first = train(data, tmp_path / "first", "--epochs", "1")
    start = ("--start", str(first.folder), "--epochs", "1")
    for flags, message in (
        (("--dim", "32"), "start's shape"),
        (("--num-codes", "32"), "num_codes 16"),
        (("--quantizer", "simvq"), "cannot be kept"),
        (("--quantizer", "fsq", "--lattice", "4,4"), "CodebookQuantizer"),
        (("--decoder-blocks", "1"), "pixel decoder of the start"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(data, tmp_path / "second", *start, *flags)
    with pytest.raises(BundleNotFoundError):
        train(data, tmp_path / "second", "--start", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="leave --start out"):
        train(data, tmp_path / "second", *start, "--frozen-weights", "vit.safetensors")


def test_codes_that_rebuild_a_teacher(data, tmp_path):
    name = "vit_tiny_patch16_224"
    torch.manual_seed(0)
    teacher = timm.create_model(name)
    file = tmp_path / "teacher.safetensors"
    save_file(teacher.state_dict(), file)
    flags = ("--teacher", name, "--teacher-weights", str(file), "--teacher-layer", "2")
    part = train(data, tmp_path / "part", *flags, "--validation-rows", "32:40", "--epochs", "6")
    losses = [line["reconstruction"] for line in part.provenance["log"]]
    assert losses[-1] < losses[0] < 2  # one minus a cosine
    assert part.provenance["log"][0]["validation"]["psnr_db"] is None
    assert part.spec["decoder"] is None and "psnr_db" not in part.metrics
    assert part.provenance["teacher"] == name and len(part.provenance["teacher_sha256"]) == 64
    assert str(tmp_path) not in json.dumps(dict(part.provenance))
    tokenizer = ImageTokenizer.from_spec(part.spec, part.folder)
    (chunk,) = tokenizer.preparer.prepare(Image(np.zeros((16, 16, 3), np.uint8)))
    assert tokenizer.encode([chunk])[0].shape == (16, 1)
    # The teacher weighs twenty times as much as the part, and is not in it.
    assert (
        sum(p.stat().st_size for p in part.folder.glob("*.safetensors")) < file.stat().st_size / 8
    )

    with pytest.raises(ConfigError, match="together"):
        train(data, tmp_path / "other", "--teacher", name)
    with pytest.raises(ConfigError, match="timm knows no"):
        train(data, tmp_path / "other", "--teacher", "nobody", "--teacher-weights", str(file))
    small = "vit_small_patch16_224"
    with pytest.raises(BundleFormatError, match="another network"):
        train(data, tmp_path / "other", "--teacher", small, "--teacher-weights", str(file))


@pytest.mark.parametrize("flags", [(), ("--keep-features", "--num-levels", "2")])
def test_codes_of_a_frozen_encoder(data, tmp_path, flags):
    name = "vit_tiny_patch16_224"
    torch.manual_seed(0)
    file = tmp_path / "vit.safetensors"
    save_file(timm.create_model(name).state_dict(), file)
    words = ["--picture-size", "64", "--frozen-weights", str(file), "--encoder", name]
    words += ["--layer", "1", "--validation-rows", "32:40", *flags]
    part = train(data, tmp_path / "part", *words)
    assert part.spec["decoder"] is None and part.metrics["codes_used"] > 0
    assert part.provenance["encoder"]["layer"] == 1
    assert not (tmp_path / "part" / "kmeans").exists()
    tokenizer = ImageTokenizer.from_spec(part.spec, part.folder)
    (chunk,) = tokenizer.preparer.prepare(Image(np.zeros((64, 64, 3), np.uint8)))
    (codes,), (features,) = tokenizer.encode([chunk]), tokenizer.embed([chunk])
    assert codes.shape == (16, 2 if flags else 1)
    centroids = tokenizer.quantizer.codebook.centroids[0]
    nearest = torch.cdist(torch.from_numpy(features).double(), centroids.double()).argmin(1)
    assert codes[:, 0].tolist() == nearest.tolist()
    with pytest.raises(TrainingError, match="17 different vectors"):  # the ViT knows 16 places
        train(same_pictures(tmp_path), tmp_path / "other", *words, "--num-codes", "17")
    assert not (tmp_path / "other" / "part.json").exists()


def test_parts_of_a_batch_add_up(data, tmp_path):
    """One step in two parts has the gradients of both; only batch norm sees the difference."""
    for name, flags in (("one", ()), ("two", ("--accumulate", "2"))):
        train(data, tmp_path / name, *flags, "--epochs", "1")
    logs = [json.loads((tmp_path / n / "log.jsonl").read_text()) for n in ("one", "two")]
    assert logs[0]["reconstruction"] == pytest.approx(logs[1]["reconstruction"], rel=0.15)


def test_half_precision(data, tmp_path):
    part = train(data, tmp_path / "part", "--precision", "bf16", "--validation-rows", "32:40")
    assert part.metrics["psnr_db"] > 5


def test_scalars_for_tensorboard(data, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(data, tmp_path / "part", "--validation-rows", "32:40")
    events = EventAccumulator(str(tmp_path / "part" / "tensorboard")).Reload()
    assert {"train/reconstruction", "learning_rate", "validation/psnr_db"} <= set(
        events.Tags()["scalars"]
    )
    assert [e.step for e in events.Scalars("validation/psnr_db")] == [3, 7]


def test_a_full_disk_leaves_nothing_half(data, tmp_path, monkeypatch):
    from pipelines.training.image import part as image_part

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_part.ImageTokenizer, "save_files", full)
    with pytest.raises(TrainingError, match=r"No space left.*--resume"):
        train(data, tmp_path / "part")
    assert not (tmp_path / "part" / "part.json").exists()
    monkeypatch.undo()
    train(data, tmp_path / "part", "--resume")  # no step is taken again
    monkeypatch.setattr("pipelines.runs.checkpoint.torch.save", full)
    with pytest.raises(TrainingError, match="checkpoint cannot be written"):
        train(data, tmp_path / "other")
    assert [p.name for p in (tmp_path / "other").iterdir()] in ([], ["tensorboard"])


def test_two_processes_share_a_batch(data, tmp_path):
    words = ["train", "image", "--data", str(data), "--rows", "0:32", *SMALL, "--device", "cpu"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "29653", "-m", "pipelines.cli", *words]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    part = Part.load(tmp_path / "two", modality="image")
    alone = train(data, tmp_path / "one")
    ours, theirs = (p.provenance["log"][-1]["reconstruction"] for p in (part, alone))
    assert ours == pytest.approx(theirs, rel=0.25)


def test_training_lowers_the_loss(data, tmp_path):
    part = train(data, tmp_path / "part", "--epochs", "20", "--learning-rate", "0.01")
    pixels = [line["reconstruction"] for line in part.provenance["log"]]
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
    with pytest.raises(TrainingError, match="16 different patches, one a code, received 4"):
        train(data, output, rows="0:1")
    with pytest.raises(ConfigError, match="divide, received 8"):
        train(data, output, "--accumulate", "3")
    with pytest.raises(ConfigError, match="each channel"):
        train(data, output, "--quantizer", "fsq")
    with pytest.raises(TrainingError, match="different patches"):
        train(same_pictures(tmp_path), output)
    with pytest.raises(TrainingError, match="no longer finite"):
        train(data, output, "--learning-rate", "1e30")
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(TrainingError, match="output folder"):
        train(data, blocked / "part")
    assert not (output / "part.json").exists()
