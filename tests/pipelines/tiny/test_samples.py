"""The samples are ours, the same each time, and `tiny` does what they promise."""

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines.answering.captioner import Captioner
from pipelines.tiny.conversations.asides import REFUSALS
from pipelines.tiny.conversations.scene import Scene, parse_scene
from pipelines.tiny.samples import KNOWN, make_samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    make_samples(folder)
    return folder


def test_the_same_bytes_each_time(folder, tmp_path):
    for path in make_samples(tmp_path):
        if path.suffix != ".ogg":  # an Ogg stream has a serial number drawn at random
            assert path.read_bytes() == (folder / path.name).read_bytes()


def test_what_tiny_knows_has_the_size_that_it_knows(folder):
    for name in KNOWN:
        if name.endswith(".png"):
            with Image.open(folder / name) as picture:
                assert picture.size == (32, 32)
        else:
            samples, rate_hz = soundfile.read(folder / name)
            assert rate_hz == 8000 and 0.3 < len(samples) / rate_hz < 4
            assert 0.1 < np.abs(samples).max() < 1


def test_tiny_can_do_what_is_promised_and_refuses_the_rest(folder):
    captioner = Captioner.load("tiny")
    for name, caption in zip(KNOWN, captioner([folder / name for name in KNOWN]), strict=True):
        if name.endswith(".png"):
            assert parse_scene(caption) == Scene(rows=((KNOWN[name],),))
        else:
            assert caption == KNOWN[name]
    odd = [folder / name for name in ("house.png", "flower.jpg", "china.jpg", "gradient.png")]
    assert captioner(odd) == [REFUSALS["picture"]["en"]] * len(odd)
    assert captioner(folder / "tones.flac") == REFUSALS["recording"]["en"]
