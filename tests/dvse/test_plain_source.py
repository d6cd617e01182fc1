"""Pictures and recordings as other libraries hold them give the tokens of the file itself."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image as PilImage

import dvse
from dvse.errors import ItemTypeError
from dvse.processor import DvseProcessor


@pytest.fixture(scope="module")
def front_door():
    return dvse.load("tiny", threads=1)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((16000, 2))).astype(np.float32)


def png(pixels: np.ndarray) -> io.BytesIO:
    buffer = io.BytesIO()
    PilImage.fromarray(pixels).save(buffer, "PNG")
    return buffer  # its place is at its end, as after any writing


def wav(samples: np.ndarray) -> io.BytesIO:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16000, format="WAV", subtype="FLOAT")
    return buffer


def test_pictures(front_door, pixels, tmp_path):
    path = tmp_path / "p.png"
    path.write_bytes(png(pixels).getvalue())
    expected = front_door.encode(dvse.Image(path)).ids.tolist()
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    same = {
        "BytesIO": png(pixels),
        "bytes": path.read_bytes(),
        "memoryview": memoryview(path.read_bytes()),
        "datasets": {"bytes": path.read_bytes(), "path": None},
        "datasets by path": {"bytes": None, "path": str(path)},
        "array": pixels,
        "tensor [C, H, W]": tensor,
        "tensor [H, W, C]": torch.from_numpy(pixels),
        "torchvision's floats": tensor.float() / 255,
        "a tensor with gradients": (tensor.float() / 255).requires_grad_(),
    }
    for name, source in same.items():
        assert front_door.encode(dvse.Image(source)).ids.tolist() == expected, name
    with path.open("rb") as file:
        file.read(7)
        assert front_door.encode(dvse.Image(file)).ids.tolist() == expected
    processor = DvseProcessor(front_door)
    batch = processor(images=torch.stack([tensor, tensor]))["input_ids"]
    assert batch.tolist() == [expected, expected]


def test_recordings(front_door, samples, tmp_path):
    path = tmp_path / "s.wav"
    path.write_bytes(wav(samples).getvalue())
    expected = front_door.encode(dvse.Audio(path)).ids.tolist()
    tensor = torch.from_numpy(samples)
    decoded = SimpleNamespace(data=tensor.T, sample_rate=16000)
    same = {
        "BytesIO": dvse.Audio(wav(samples)),
        "bytes": dvse.Audio(path.read_bytes()),
        "array": dvse.Audio(samples, 16000),
        "as Hugging Face spells it": dvse.Audio(samples, sampling_rate=16000),
        "torchaudio's [channels, samples]": dvse.Audio(tensor.T, 16000),
        "tensor [samples, channels]": dvse.Audio(tensor, 16000),
        "datasets, decoded": dvse.Audio({"array": samples, "sampling_rate": 16000, "path": "x"}),
        "datasets, a file": dvse.Audio({"bytes": path.read_bytes(), "path": "s.wav"}),
        "torchcodec": dvse.Audio(SimpleNamespace(get_all_samples=lambda: decoded)),
    }
    for name, item in same.items():
        assert front_door.encode(item).ids.tolist() == expected, name
    halves = dvse.Audio(tensor[:, 0].to(torch.bfloat16), 16000)  # NumPy has none
    assert halves.source.dtype == np.float32


def test_the_rate_has_one_value_under_both_names():
    item = dvse.Audio("a.wav", sampling_rate=16000)
    assert (item.sample_rate_hz, item) == (16000, dvse.Audio("a.wav", 16000))
    with pytest.raises(ItemTypeError, match=r"one sample rate, received \[8000, 16000\]"):
        dvse.Audio("a.wav", 8000, sampling_rate=16000)


@pytest.mark.parametrize("kind", [dvse.Image, dvse.Audio])
def test_what_cannot_be_read_is_named(kind, tmp_path):
    with pytest.raises(ItemTypeError, match=r"binary mode"):
        kind(io.StringIO("text"))
    with pytest.raises(ItemTypeError, match=r"received \['label'\]"):
        kind({"label": 3})
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(ItemTypeError, match="closed file"):
        kind(closed)


def test_a_column_of_datasets_goes_in_as_it_comes_out(front_door, pixels):
    column = Dataset.from_dict(
        {"image": [{"bytes": png(pixels).getvalue(), "path": None}]},
        features=Features({"image": ImageFeature()}),
    )
    expected = front_door.encode(dvse.Image(pixels)).ids.tolist()
    assert front_door.encode(dvse.Image(column[0]["image"])).ids.tolist() == expected
    raw = column.cast_column("image", ImageFeature(decode=False))
    assert front_door.encode(dvse.Image(raw[0]["image"])).ids.tolist() == expected
