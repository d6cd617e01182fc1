"""The network beside a stem learns labels by itself, and is then part of an encoder."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dvse.errors import ConfigError, TrainingError
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.tokenizer import ImageTokenizer
from dvse.storage.part import Part
from pipelines.cli import main
from pipelines.training.image.context import ContextClassifier, learn_context
from pipelines.training.image.pictures import Pictures
from pipelines.training.image.settings import ContextSettings, ImageTrainingConfig

WIDTHS = (8, 16, 16)
SETTINGS = ContextSettings(widths=WIDTHS, epochs=6, batch_size=32)


@pytest.fixture(autouse=True)
def keep_process_state():
    """Threads, and accelerate's idea of precision, are the whole process's."""
    from accelerate.state import AcceleratorState

    threads = torch.get_num_threads()
    AcceleratorState._reset_state(True)
    yield
    torch.set_num_threads(threads)
    AcceleratorState._reset_state(True)


def stripes(count: int, seed: int = 0) -> Pictures:
    """Return noisy stripes, up and down or from left to right: two classes, no colour tells."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    waves = 90 * np.sin(np.arange(16) * np.pi / 2 + rng.uniform(0, 6, (count, 1)))
    pixels = np.broadcast_to(waves[:, None, :, None], (count, 16, 16, 3)).copy()
    pixels[labels == 1] = pixels[labels == 1].swapaxes(1, 2)
    pixels = np.clip(pixels + rng.normal(128, 20, pixels.shape), 0, 255).astype(np.uint8)
    return Pictures(
        pixels=pixels,
        labels=labels,
        label_names=("down", "across"),
        num_unreadable=0,
        sha256=f"stripes {count} {seed}",
    )


def encoder() -> ImageEncoder:
    options = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
    return ImageEncoder(EncoderConfig(name="vit_tiny_patch16_224", options=options))


def learn(folder, settings=SETTINGS, train=None, resume=False):
    return learn_context(
        train or stripes(96),
        stripes(64, seed=1),
        settings,
        folder,
        encoder=encoder(),
        config=ImageTrainingConfig(),
        device=torch.device("cpu"),
        resume=resume,
    )


@torch.no_grad()
def test_without_its_norms_it_is_the_same_network():
    torch.manual_seed(0)
    network = ContextClassifier(WIDTHS, 3)
    x = torch.randn(32, 3, 16, 16)
    network.whiten(x)
    for _ in range(10):
        network(x)
    network.eval()
    for sides in ((16, 16), (12, 20)):
        x = torch.randn(2, 3, *sides)
        votes = F.linear(network.folded()(x).permute(0, 2, 3, 1), network.head.weight)
        votes = votes.permute(0, 3, 1, 2) / WIDTHS[-1]  # so that rates do not hang on the width
        torch.testing.assert_close(votes, network(x), atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_whitened_pixels_are_uncorrelated():
    torch.manual_seed(0)
    network = ContextClassifier(WIDTHS, 3)
    smooth = F.avg_pool2d(torch.randn(200, 3, 18, 18), 3, stride=1)
    network.whiten(smooth)
    found = F.conv2d(smooth, network.first.weight[:12]).permute(1, 0, 2, 3).flatten(1)
    covariance = found @ found.T / found.shape[1]
    assert (covariance - covariance.diag().diag()).abs().max() < 1e-3
    assert torch.equal(network.first.weight[12:], -network.first.weight[:12])


def test_it_learns_labels_and_goes_on_where_it_stopped(tmp_path, capsys):
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    for folder in (whole, halted):
        folder.mkdir()
    learnt = learn(whole)
    lines = capsys.readouterr()
    rights = [float(line.split(": ")[-1].rstrip("}")) for line in lines.out.splitlines()]
    assert len(rights) == 6 and rights[-1] > 0.9

    class Cut(Exception):
        pass

    def stop(line, *rest, **more):
        if '"context": 4' in line:
            raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.training.image.context.tqdm.write", stop)
        with pytest.raises(Cut):
            learn(halted)
    again = learn(halted, resume=True)
    assert all(map(torch.equal, again.state_dict().values(), learnt.state_dict().values()))
    with pytest.raises(TrainingError, match="batch_size"):
        learn(halted, dataclasses.replace(SETTINGS, batch_size=48), resume=True)


def test_what_it_cannot_learn_from(tmp_path):
    with pytest.raises(TrainingError, match="at least 32 pictures"):
        learn(tmp_path, train=stripes(20))
    with pytest.raises(TrainingError, match="expected labels"):
        learn(tmp_path, train=dataclasses.replace(stripes(40), labels=None))
    with pytest.raises(ConfigError, match="one epoch"):
        ContextSettings(widths=WIDTHS, epochs=0)


def test_an_encoder_takes_it_and_codes_stay(tmp_path):
    """As a user does it: `dvse train image` twice, the second time with a context."""
    from PIL import Image

    pictures = stripes(80)
    for i, (pixels, label) in enumerate(zip(pictures.pixels, pictures.labels, strict=True)):
        folder = tmp_path / "pictures" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
    shape = "--picture-size 16 --stem-widths 4,6 --dim 16 --depth 1 --num-heads 2 --num-codes 16 "
    shape += "--code-dim 4 --decoder-widths 8,8,4 --batch-size 16 --epochs 1 --threads 1"
    common = [
        *("train", "image", "--data", str(tmp_path / "pictures"), *shape.split()),
        *("--label-column", "folder", "--label-weight", "1"),
    ]
    assert main([*common, "--output", str(tmp_path / "first")]) == 0
    context = ["--context-widths", "8,16,16", "--context-epochs", "2", "--context-batch-size", "32"]
    second = ["--start", str(tmp_path / "first"), "--output", str(tmp_path / "second")]
    assert main([*common, *context, *second]) == 0
    parts = [Part.load(tmp_path / name, modality="image") for name in ("first", "second")]
    before, after = (ImageTokenizer.from_spec(part.spec, part.folder) for part in parts)
    assert torch.equal(before.quantizer.codebook.centroids, after.quantizer.codebook.centroids)
    stem = after.encoder.context_stem
    assert stem.join.weight.abs().max() > 0
    third = ["--start", str(tmp_path / "second"), "--output", str(tmp_path / "third")]
    assert main([*common, *context, *third]) == 0
    assert not (tmp_path / "third" / "context.pt").exists()
    part = Part.load(tmp_path / "third", modality="image")
    kept = ImageTokenizer.from_spec(part.spec, part.folder).encoder.context_stem.context
    assert all(map(torch.equal, kept.state_dict().values(), stem.context.state_dict().values()))
    assert main([*common, *third[:2], "--output", str(tmp_path / "fourth")]) == 2
    pixels = ["--learns", "pixels", "--start", str(tmp_path / "first")]
    assert main([*common, *context, *pixels, "--output", str(tmp_path / "fifth")]) == 2
