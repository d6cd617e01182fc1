"""Pieces add up to the whole, and no piece ends inside a character."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dvse
from pipelines.answering.incremental_text import IncrementalText

TEXT = dvse.load("tiny").text
BYTE = {i: TEXT.piece(i) for i in range(TEXT.size) if TEXT.piece(i).startswith("<0x")}


def grow(ids):
    growing = IncrementalText(TEXT)
    pieces = [growing.push(i) for i in ids]
    return [*pieces, growing.finish()]


@pytest.mark.parametrize("text", ["", "a photo of a frog", "你是谁? 我很小。", "x😀😀é ﬁ"])
def test_valid_text_never_shows_half_a_character(text):
    pieces = grow(TEXT.encode(text).tolist())
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@settings(max_examples=200)
@given(st.lists(st.one_of(st.sampled_from(sorted(BYTE)), st.integers(0, TEXT.size - 1))))
def test_any_ids_add_up_to_their_decoded_whole(ids):
    assert "".join(grow(ids)) == (TEXT.decode(ids) if ids else "")


def test_a_letter_is_shown_at_once():
    growing = IncrementalText(TEXT)
    assert [growing.push(i) for i in TEXT.encode("one two").tolist()] != ["", "one two"]
    assert growing.finish() == ""
