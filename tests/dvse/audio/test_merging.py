"""Merging repeats and expanding them again loses nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvse.audio.merging import Merged, expand, merge_repeats
from dvse.errors import IdRangeError


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=30))
def test_expand_undoes_merge(rows: list[tuple[int, int]]) -> None:
    codes = np.array(rows, dtype=np.int32).reshape(-1, 2)
    merged = merge_repeats(codes)
    assert merged.durations is not None
    assert merged.durations.sum() == len(codes)
    assert not (merged.codes[1:] == merged.codes[:-1]).all(axis=1).any()
    np.testing.assert_array_equal(expand(merged), codes)


def test_a_run_is_a_run_on_all_levels() -> None:
    merged = merge_repeats(np.array([[1, 2], [1, 3], [1, 3]], dtype=np.int32))
    assert merged.codes.tolist() == [[1, 2], [1, 3]]
    assert merged.durations.tolist() == [1, 2]


def test_durations_that_do_not_fit() -> None:
    codes = np.zeros((2, 1), np.int32)
    for durations in (np.array([1]), np.array([0, 2])):
        with pytest.raises(IdRangeError, match="a duration of at least 1 for each of 2 units"):
            expand(Merged(codes, durations))
    assert expand(Merged(codes, None)) is codes
