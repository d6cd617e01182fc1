"""Python values to Arrow arrays without pandas.

`pyarrow.array` asks pandas about whatever it is given, and so imports it where it is installed:
half a second for a shard of one row. Numbers go by way of NumPy here, strings by Arrow's builder.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def array_of(values: "Sequence[Any] | np.ndarray", kind: pa.DataType) -> pa.Array:
    """Return an array of strings, truth values or numbers; `None` becomes null.

    Raises:
        OverflowError: a number that the type cannot hold.

    >>> array_of([3, None, 4], pa.int32()).to_pylist()
    [3, None, 4]
    >>> array_of(["a", None], pa.string()).null_count
    1
    """
    if pa.types.is_string(kind):
        builder = pa.lib.StringBuilder()
        builder.append_values(values)
        return builder.finish()
    missing = np.zeros(len(values), dtype=bool)
    if not isinstance(values, np.ndarray):
        missing = np.fromiter((value is None for value in values), bool, len(values))
        values = np.array(
            [0 if value is None else value for value in values], dtype=kind.to_pandas_dtype()
        )
    assert values.dtype == kind.to_pandas_dtype(), (values.dtype, kind)
    data = (
        _bits(values) if pa.types.is_boolean(kind) else pa.py_buffer(np.ascontiguousarray(values))
    )
    validity = _bits(~missing) if missing.any() else None
    return pa.Array.from_buffers(kind, len(values), [validity, data])


def _bits(truth: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(truth, bitorder="little"))
