"""What a caller may hand in, and what is asked back."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from dvse.errors import InputError, ItemTypeError, MissingFileError
from dvse.items import Audio, Image, Text
from pipelines.answering.inputs import as_inputs, as_row, is_single

PIXELS = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    "one", ["a.png", Path("a.png"), PIXELS, PIL.Image.new("RGB", (4, 4)), Image("a"), Text("a")]
)
def test_one_input(one):
    assert is_single(one)


@pytest.mark.parametrize("several", [[], ["a.png"], ("a.png",), (Path(p) for p in ("a",))])
def test_several_inputs(several):
    assert not is_single(several)
    assert isinstance(as_inputs(several), list)


@pytest.mark.parametrize("neither", [None, 3])
def test_neither(neither):
    assert not is_single(neither)
    with pytest.raises(ItemTypeError, match="or a list of them"):
        as_inputs(neither)


def test_a_mapping_of_something_else_says_what_it_holds():
    with pytest.raises(ItemTypeError, match=r"a mapping with \['image'\]"):
        as_row({"image": "a.png"})


def test_paths_by_extension():
    assert as_row("a.JPG") == (Image("a.JPG"),)
    assert as_row(Path("b/c.flac")) == (Audio("b/c.flac"),)


def test_a_text_file_is_its_text(tmp_path):
    (tmp_path / "q.txt").write_text("你是谁?", encoding="utf-8")
    assert as_row(tmp_path / "q.txt") == (Text("你是谁?"),)
    with pytest.raises(MissingFileError):
        as_row(tmp_path / "missing.txt")


def test_arrays_and_pictures():
    picture = PIL.Image.new("L", (4, 4))
    assert as_row(picture) == (Image(picture),)
    for array in (PIXELS, PIXELS[:, :, 0], torch.zeros(4, 4, 3, dtype=torch.uint8)):
        (item,) = as_row(array)
        assert isinstance(item, Image)
        assert item.source.shape == array.shape


@pytest.mark.parametrize("array", [np.zeros(100, np.float32), np.zeros((100, 2), np.float32)])
def test_a_recording_needs_its_rate(array):
    with pytest.raises(ItemTypeError, match=r"dvse\.Audio\(array, sample_rate_hz\)"):
        as_row(array)


def test_a_list_in_the_list_is_one_input():
    assert as_row(["a.png", Audio("b"), Text("c")]) == (Image("a.png"), Audio("b"), Text("c"))
    with pytest.raises(ItemTypeError, match="empty list"):
        as_row([])


@pytest.mark.parametrize("wrong", [b"\x89PNG", b"a.png", b""])
def test_bytes_that_are_neither_say_so(wrong):
    with pytest.raises(InputError, match="neither a picture nor a recording"):
        as_row(wrong)


@pytest.mark.parametrize("wrong", [3, None, object()])
def test_what_could_be_anything_is_asked_back(wrong):
    with pytest.raises(ItemTypeError, match="say which it is"):
        as_row(wrong)


def test_a_string_that_is_no_file():
    with pytest.raises(InputError, match=r"unknown extension.*if it is a text.*dvse\.Text"):
        as_row("What is this?")
    with pytest.raises(InputError, match="SVG pictures are drawings"):
        as_row("logo.svg")
