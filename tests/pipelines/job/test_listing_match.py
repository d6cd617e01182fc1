"""Lines of two listings that are the same, against a slow search."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.job.listing_match import match_lines

LINES = st.lists(st.sampled_from("abcdefgh"), max_size=12)


@given(LINES, LINES)
def test_a_line_that_stands_once_in_both_is_found(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("listings")
    for name, lines in (("old", old), ("new", new)):
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    wanted = [old.index(x) if old.count(x) == new.count(x) == 1 else -1 for x in new]
    found = match_lines(folder / "old", folder / "new")
    assert found.dtype == np.int64
    assert found.tolist() == wanted
