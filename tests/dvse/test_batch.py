"""Rows as one rectangle, compared with hand-made tensors."""

import numpy as np
import pytest
import torch

from dvse.batch import TokenBatch, collate
from dvse.encoding import Encoding, Span
from dvse.errors import ConfigError, InputError


def encoding(*parts: tuple[str, int]) -> Encoding:
    """Items of given modalities and lengths; ids count up from 1."""
    spans, kinds, start = [], [], 0
    for modality, length in parts:
        spans.append(Span(modality=modality, start=start, stop=start + length))
        kinds += [{"text": 0, "special": 0, "image": 1, "audio": 2}[modality]] * length
        start += length
    ids = np.arange(1, start + 1, dtype=np.int64)
    ids.setflags(write=False)  # as arrays that come out of Parquet are
    return Encoding(ids=ids, modality_ids=np.array(kinds, np.int8), spans=tuple(spans))


SHORT, LONG = encoding(("text", 2)), encoding(("image", 3), ("audio", 1))


@pytest.mark.parametrize(
    ("options", "ids", "mask", "modality"),
    [
        ({}, [[1, 2, 9, 9], [1, 2, 3, 4]], "1100 1111", [[0, 0, -1, -1], [1, 1, 1, 2]]),
        (
            {"padding_side": "left"},
            [[9, 9, 1, 2], [1, 2, 3, 4]],
            "0011 1111",
            [[-1, -1, 0, 0], [1, 1, 1, 2]],
        ),
        (
            {"padding": "max_length", "max_length": 5},
            [[1, 2, 9, 9, 9], [1, 2, 3, 4, 9]],
            "11000 11110",
            [[0, 0, -1, -1, -1], [1, 1, 1, 2, -1]],
        ),
        (
            {"padding": "max_length", "max_length": 5, "padding_side": "left"},
            [[9, 9, 9, 1, 2], [9, 1, 2, 3, 4]],
            "00011 01111",
            [[-1, -1, -1, 0, 0], [-1, 1, 1, 1, 2]],
        ),
        ({"max_length": 4}, [[1, 2, 9, 9], [1, 2, 3, 4]], "1100 1111", None),
        (
            {"max_length": 3, "truncation": True},
            [[1, 2, 9], [1, 2, 3]],
            "110 111",
            [[0, 0, -1], [1, 1, 1]],
        ),
    ],
)
def test_padding(options, ids, mask, modality):
    batch = collate([SHORT, LONG], pad_id=9, **options)
    assert batch.input_ids.tolist() == ids
    flags = [[digit == "1" for digit in row] for row in mask.split()]
    assert batch.attention_mask.tolist() == flags
    if modality is not None:
        assert batch.modality_ids.tolist() == modality
    assert (batch.input_ids.dtype, batch.attention_mask.dtype, batch.modality_ids.dtype) == (
        torch.int64,
        torch.bool,
        torch.int8,
    )


@pytest.mark.parametrize(
    ("row", "max_length", "kept"),
    [
        (encoding(("text", 5)), 3, 3),
        (encoding(("text", 2), ("image", 4)), 5, 2),
        (encoding(("text", 2), ("image", 4)), 6, 6),
        (encoding(("text", 2), ("image", 4), ("text", 3)), 8, 8),
        (encoding(("text", 2), ("image", 4), ("text", 3)), 5, 2),
        (encoding(("special", 1), ("audio", 4), ("text", 3)), 4, 1),
        (encoding(("image", 4), ("audio", 4)), 7, 4),
        (encoding(("text", 0), ("text", 4)), 2, 2),
    ],
)
def test_truncation_cuts_text_but_never_a_picture_or_recording(row, max_length, kept):
    batch = collate([row], pad_id=9, max_length=max_length, truncation=True)
    assert batch.input_ids.tolist() == [list(range(1, kept + 1))]


def test_rows_that_are_too_long_are_refused():
    with pytest.raises(InputError, match=r"row 1 has 4 ids, max_length is 3; .*truncation=True"):
        collate([SHORT, LONG], pad_id=9, max_length=3)


def test_a_row_of_which_nothing_fits_is_refused():
    with pytest.raises(InputError, match="row 1 begins with 3 ids of image that belong together"):
        collate([SHORT, LONG], pad_id=9, max_length=2, truncation=True)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": True},
        {"padding": "max_length"},
        {"truncation": True},
        {"padding_side": "middle"},
        {"max_length": 0},
        {"max_length": -1},
    ],
)
def test_options_are_checked(options):
    with pytest.raises(ConfigError):
        collate([SHORT], pad_id=9, **options)


def test_no_rows_and_empty_rows():
    assert collate([], pad_id=9).input_ids.shape == (0, 0)
    batch = collate([encoding(("text", 0)), SHORT], pad_id=9)
    assert batch.input_ids.tolist() == [[9, 9], [1, 2]]
    assert batch.attention_mask.tolist() == [[False, False], [True, True]]


def test_it_is_used_like_a_mapping():
    batch = collate([SHORT, LONG], pad_id=9)
    assert len(batch) == 2
    assert set(dict(**batch)) == {"input_ids", "attention_mask", "modality_ids"}
    assert batch["input_ids"] is batch.input_ids
    for name in ("labels", "to", "keys"):
        with pytest.raises(KeyError, match="expected one of"):
            batch[name]
    moved = batch.to("cpu")
    assert isinstance(moved, TokenBatch)
    assert torch.equal(moved.input_ids, batch.input_ids)
