"""Arrays made without pandas are those that pyarrow makes."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from dvse.storage.arrow_arrays import array_of

NUMBERS = [0, 1, None, 65_535, 3]


@pytest.mark.parametrize(
    "values, kind",
    [
        (["a", None, "é\0", ""], pa.string()),
        ([], pa.string()),
        (NUMBERS, pa.uint16()),
        (NUMBERS, pa.uint32()),
        ([-1, None, 2**31 - 1], pa.int32()),
        ([0.5, None, float("inf"), 3], pa.float64()),
        ([True, None, False] * 7, pa.bool_()),
        ([None, None], pa.int32()),
        ([], pa.bool_()),
        (np.arange(9, dtype=np.uint16)[::2], pa.uint16()),
        (np.array([True, False] * 5), pa.bool_()),
    ],
)
def test_as_pyarrow(values, kind):
    ours, theirs = array_of(values, kind), pa.array(values, type=kind)
    ours.validate(full=True)
    assert ours.equals(theirs) and ours.type == kind and ours.null_count == theirs.null_count


@pytest.mark.parametrize("value", [-1, 65_536])
def test_what_the_type_cannot_hold(value):
    with pytest.raises(OverflowError):
        array_of([value], pa.uint16())


def test_no_pandas():
    script = (
        "import sys, numpy as np, pyarrow as pa\n"
        "from dvse.storage.arrow_arrays import array_of\n"
        "array_of(['a', None], pa.string()), array_of([1, None], pa.int32())\n"
        "array_of(np.array([True]), pa.bool_())\n"
        "assert 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
