"""Base64 a block at a time gives what the standard library gives of the whole."""

import base64
import os
import textwrap

import pytest

from dvse import data_url
from dvse.data_url import decode_base64
from dvse.errors import InputError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(data_url, "_BLOCK", 64)


@pytest.mark.parametrize("size", [0, 1, 2, 47, 48, 49, 96, 1000])
@pytest.mark.parametrize("width", [None, 7, 60, 76])
def test_any_size_and_line_length(size, width):
    data = os.urandom(size)
    text = base64.b64encode(data).decode()
    if width is not None:
        text = "\r\n".join(textwrap.wrap(text, width)) + "\n"
    for given in (text, text.rstrip("=\r\n"), text.replace("+", "-").replace("/", "_")):
        assert decode_base64(given) == data


@pytest.mark.parametrize("at", [1, 62, 63, 64, 65, 130])
@pytest.mark.parametrize("wrong", ["=", "==", "!", "é", "A"])
def test_what_is_none_is_refused_wherever_it_stands(at, wrong):
    text = base64.b64encode(os.urandom(120)).decode()  # 160 characters, no padding
    with pytest.raises(InputError, match="expected base64 data"):
        decode_base64(text[:at] + wrong + text[at:])
