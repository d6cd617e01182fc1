"""What a user hands in: the items themselves and what a row may hold."""

from pathlib import Path

import numpy as np
import pytest

from dvse.errors import InputError, ItemTypeError
from dvse.items import Audio, Image, Special, Text, as_sequence


def test_one_item_is_a_row_of_one():
    for item in (Text("a"), Image("a.jpg"), Audio("a.wav"), Special("<|user|>")):
        assert as_sequence(item) == (item,)
    assert as_sequence([Text("a"), Image("b")]) == (Text("a"), Image("b"))
    assert as_sequence((Text("a"),)) == (Text("a"),)


@pytest.mark.parametrize(
    "row",
    ["hello", b"hello", Path("cat.jpg"), None, 5, {"text": "a"}, iter([Text("a")]), np.zeros(3)],
)
def test_anything_else_is_refused(row):
    with pytest.raises(ItemTypeError, match=r'for example dvse\.Text\("hello"\)') as caught:
        as_sequence(row)
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("part", ["hello", None, ["x"], [Text("a")]])
def test_anything_else_inside_a_row_is_refused(part):
    with pytest.raises(ItemTypeError, match="inside a row, received"):
        as_sequence([Text("a"), part])


def test_an_empty_row_is_refused():
    with pytest.raises(ItemTypeError, match="at least one item"):
        as_sequence([])


@pytest.mark.parametrize("value", [b"bytes", None, 5, ["a"], Path("a")])
def test_text_takes_strings(value):
    with pytest.raises(ItemTypeError, match="takes a str"):
        Text(value)


def test_the_message_stays_short():
    with pytest.raises(ItemTypeError) as caught:
        as_sequence("\udcff\n" * 1000)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()
