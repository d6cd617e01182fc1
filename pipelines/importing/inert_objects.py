"""What the names of a dump of k-means mean here: classes that keep what they are given, no more.

Arrays come in two ways: joblib's, whose bytes follow in the stream, and a pickle's own, whose bytes
are a value like any other and are looked at only where somebody asks for them.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from dvse.errors import UnsafeFileError, WeightsFormatError

_MOST_DIMENSIONS = 32  # NumPy's own limit for long
_SIZES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


class Inert:
    """Stands for an object of the dump; keeps what it was built from and does nothing."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments


class Estimator(Inert):
    """Stands for k-means; its state is the dictionary of its attributes."""

    class_name = ""


class Dtype(Inert):
    """`numpy.dtype('f8', …)` and its state `(version, byte order, …)`."""

    def resolve(self, path: Path) -> np.dtype:
        """Return it, if it is one of numbers."""
        code = self.arguments[0] if self.arguments else None
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "<"
        if isinstance(code, str) and code[:1] == "O":
            raise UnsafeFileError(f"{path}: expected arrays of numbers, received an object array")
        known = isinstance(code, str) and code in _SIZES
        if not known or order not in ("<", ">", "|", "="):
            raise WeightsFormatError(
                f"{path}: expected arrays of numbers (biuf), received {str(code)[:20]!r}"
            )
        return np.dtype(str(code)).newbyteorder(">" if order == ">" else "<")


class ArrayWrapper(Inert):
    """joblib's note that the bytes of an array follow in the stream."""


class LatinText(Inert):
    """`_codecs.encode(text, 'latin1')`, as pickles of protocol 2 write bytes.

    Encoded when it is asked for: a dump may name one long text a million times.
    """

    def resolve(self) -> bytes:
        """Return the bytes."""
        text, encoding = self.arguments
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError("expected bytes as latin1 text")
        return text.encode("latin1")


class PlainArray(Inert):
    """An array as a pickle writes it.

    Its state is `(version, shape, dtype, is_fortran, bytes)`; of protocol 5 on it may be made of
    `(bytes, dtype, shape, order)` at once.
    """

    def resolve(self, path: Path) -> np.ndarray:
        """Return it, native and in C order."""
        if isinstance(self.state, tuple) and len(self.state) == 5:
            _, shape, dtype, is_fortran, data = self.state
            order = "F" if is_fortran else "C"
        elif self.state is None and len(self.arguments) == 4:
            data, dtype, shape, order = self.arguments
        else:
            raise pickle.UnpicklingError("an array without its description")
        if isinstance(data, LatinText):
            data = data.resolve()
        if isinstance(data, str):  # Python 2 wrote bytes as text
            data = data.encode("latin1")
        size, number = array_size(shape, dtype, order, path)
        if not isinstance(data, bytes) or len(data) != size:
            raise pickle.UnpicklingError("an array of another size than its shape")
        return native_array(data, number, shape, order)


def array_size(shape: Any, dtype: Any, order: Any, path: Path) -> tuple[int, np.dtype]:
    """Return the bytes of an array that a dump describes, and the dtype of its numbers."""
    if not isinstance(dtype, Dtype):
        raise pickle.UnpicklingError("an array without a dtype")
    is_short = isinstance(shape, tuple) and len(shape) <= _MOST_DIMENSIONS
    if not is_short or not all(type(n) is int and n >= 0 for n in shape):
        raise pickle.UnpicklingError("an array without a shape")
    if order not in ("C", "F"):
        raise pickle.UnpicklingError("an array without an order")
    number = dtype.resolve(path)
    size = number.itemsize
    for n in shape:
        size *= n
    return size, number


def native_array(data: bytes, number: np.dtype, shape: Any, order: Any) -> np.ndarray:
    """Return bytes as an array of this machine's byte order, in C order."""
    array = np.frombuffer(data, number).reshape(shape, order=order)
    return np.ascontiguousarray(array.astype(number.newbyteorder("="), copy=True))


def reconstructed(kind: Any, base: Any = None, state: Any = None) -> Inert:
    """`copyreg._reconstructor(class, object, None)`, as protocols 0 and 1 make objects."""
    if not (isinstance(kind, type) and issubclass(kind, Inert)) or state is not None:
        raise pickle.UnpicklingError("expected an object of a class that is known")
    return kind()


_ESTIMATORS = {
    f"{module}.{name}"
    for module in ("sklearn.cluster.k_means_", "sklearn.cluster._kmeans")
    for name in ("KMeans", "MiniBatchKMeans")
}
INERT_NAMES: dict[str, Any] = {
    "numpy.dtype": Dtype,
    "_codecs.encode": LatinText,
    **dict.fromkeys(["copyreg._reconstructor", "copy_reg._reconstructor"], reconstructed),
    **dict.fromkeys(
        [
            "numpy.core.multiarray._reconstruct",
            "numpy._core.multiarray._reconstruct",
            "numpy.core.numeric._frombuffer",
            "numpy._core.numeric._frombuffer",
        ],
        PlainArray,
    ),
    **dict.fromkeys(
        [
            "builtins.object",
            "__builtin__.object",
            "numpy.ndarray",
            "numpy.memmap",
            "numpy.core.memmap.memmap",
            "numpy._core.memmap.memmap",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "numpy.random.__RandomState_ctor",
            "numpy.random._pickle.__randomstate_ctor",
            "numpy.random._pickle.__bit_generator_ctor",
            "numpy.random._mt19937.MT19937",
            "numpy.random.mtrand.RandomState",
            "numpy.random.bit_generator.SeedSequence",
            "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
            "sklearn.utils._bunch.Bunch",
        ],
        Inert,
    ),
    **dict.fromkeys(
        [
            "joblib.numpy_pickle.NumpyArrayWrapper",
            "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper",
        ],
        ArrayWrapper,
    ),
    **{name: type("Estimator", (Estimator,), {"class_name": name}) for name in _ESTIMATORS},
}
"""Every name that may stand in a dump, and what it means here."""
