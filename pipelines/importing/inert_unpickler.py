"""The pickle machine of the standard library with nothing behind its names.

Every name that a pickle looks up must stand on an exact list and means a class of ours, which keeps
shapes, dtypes and bytes and can do nothing. A prefix ("sklearn.*") would not be safe: those
packages hold functions that run code.
"""

import pickle
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from dvse.errors import UnsafeFileError, WeightsFormatError

MAX_ARRAY_BYTES = 1 << 30  # a codebook of 100,000 codes in 2,560 channels, fp32
MAX_SKIPPED_BYTES = 4 << 30  # read past, not held: labels of the training set lie in some dumps
MAX_OTHER_BYTES = 4 << 20  # everything that is no array: a few kB in any real dump
KEPT = "cluster_centers_"

_ESTIMATORS = {
    f"{module}.{name}"
    for module in ("sklearn.cluster.k_means_", "sklearn.cluster._kmeans")
    for name in ("KMeans", "MiniBatchKMeans")
}
_WRAPPERS = {
    "joblib.numpy_pickle.NumpyArrayWrapper",
    "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper",
}
_NUMBER_KINDS = "biuf"
_BLOCK = 1 << 20


class BoundedStream:
    """Reads what is asked for, whole, and no more of each kind than a dump may hold."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self._left = {"other": MAX_OTHER_BYTES, "array": MAX_ARRAY_BYTES, "skip": MAX_SKIPPED_BYTES}

    def read(self, size: int, kind: str = "other") -> bytes:
        """Return `size` bytes, all of them, counted under `kind`."""
        self._left[kind] -= size
        if self._left[kind] < 0:
            raise WeightsFormatError(
                f"{self._path}: expected a codebook of at most {MAX_ARRAY_BYTES >> 20} MB and "
                "little beside it, received more"
            )
        data = self._file.read(size)
        if len(data) != size:
            raise EOFError("it ends too early")
        return data

    def readline(self) -> bytes:
        """Return a line with its end, as old opcodes have them."""
        line = bytearray()
        while not line.endswith(b"\n"):
            line += self.read(1)
            if len(line) > 4096:
                raise pickle.UnpicklingError("a line without an end")
        return bytes(line)

    def skip(self, size: int) -> None:
        """Read past `size` bytes without holding them."""
        while size > 0:
            size -= len(self.read(min(size, _BLOCK), "skip"))


class Inert:
    """Stands for an object of the dump; keeps what it was built from and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None


class Estimator(Inert):
    """Stands for k-means; its state is the dictionary of its attributes."""

    class_name = ""
    state: dict[str, Any]


class _Dtype(Inert):
    """`numpy.dtype('f8', …)` and its state `(version, byte order, …)`."""

    def resolve(self, path: Path) -> np.dtype:
        code = self.arguments[0] if self.arguments else None
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "<"
        if isinstance(code, str) and code[:1] == "O":
            raise UnsafeFileError(f"{path}: expected arrays of numbers, received an object array")
        sizes = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
        if not isinstance(code, str) or code not in sizes or order not in ("<", ">", "|", "="):
            raise WeightsFormatError(
                f"{path}: expected arrays of numbers ({_NUMBER_KINDS}), received {str(code)[:20]!r}"
            )
        return np.dtype(code).newbyteorder(">" if order == ">" else "<")


class ArrayWrapper(Inert):
    """joblib's note that the bytes of an array follow in the stream."""


def _no_bytes(text: str, encoding: str = "") -> bytes:
    """`_codecs.encode(text, 'latin1')`, as pickles of protocol 2 write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("expected bytes as latin1 text")
    return text.encode("latin1")


_INERT_NAMES: dict[str, Any] = {
    "numpy.dtype": _Dtype,
    "_codecs.encode": _no_bytes,
    **dict.fromkeys(
        [
            "numpy.ndarray",
            "numpy.core.multiarray._reconstruct",
            "numpy._core.multiarray._reconstruct",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "numpy.core.numeric._frombuffer",
            "numpy._core.numeric._frombuffer",
            "numpy.random.__RandomState_ctor",
            "numpy.random._pickle.__randomstate_ctor",
            "numpy.random._pickle.__bit_generator_ctor",
            "numpy.random._mt19937.MT19937",
            "numpy.random.mtrand.RandomState",
            "numpy.random.bit_generator.SeedSequence",
            "sklearn.utils._bunch.Bunch",
        ],
        Inert,
    ),
    **dict.fromkeys(_WRAPPERS, ArrayWrapper),
    **{name: type("Estimator", (Estimator,), {"class_name": name}) for name in _ESTIMATORS},
}

# Nothing of a codebook needs these. Sets and keys of nested tuples cost exponential time to hash; a
# byte array is allocated in the size that it claims, before anything of it is read.
_REFUSED = (
    *(pickle.PERSID, pickle.BINPERSID, pickle.EXT1, pickle.EXT2, pickle.EXT4),
    *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
    *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.BYTEARRAY8),
)


class InertUnpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """The standard library's own machine in Python, with inert classes for names."""

    stack: list[Any]
    append: Any
    pop_mark: Any
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, stream: BoundedStream, path: Path) -> None:
        super().__init__(stream, encoding="latin1")
        self._stream, self._path = stream, path

    def find_class(self, module: str, name: str) -> Any:
        """Return the inert class that stands for a name; raise `UnsafeFileError` off the list."""
        full = f"{module}.{name}"
        if full not in _INERT_NAMES:
            raise UnsafeFileError(
                f"{self._path}: expected a dump of k-means and nothing else, received one that "
                f"looks up {full[:80]!r}; it was not run. Ask its author for a .npy or safetensors "
                "file of the centroids"
            )
        return _INERT_NAMES[full]

    def load_build(self) -> None:
        """Keep a state; the bytes of an array follow its description in the stream."""
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, Inert):
            raise pickle.UnpicklingError("a state for something that has none")
        if isinstance(target, Estimator) and not isinstance(state, dict):
            raise pickle.UnpicklingError("an estimator without its attributes")
        target.state = state
        if isinstance(target, ArrayWrapper):
            self.stack[-1] = self._array(state)

    def _array(self, about: Any) -> np.ndarray | None:
        """Read the bytes of an array that follow here; `None` for one that nobody asks for."""
        if not isinstance(about, dict) or not isinstance(about.get("dtype"), _Dtype):
            raise pickle.UnpicklingError("an array without its description")
        shape, order = about.get("shape"), about.get("order")
        dtype = about["dtype"].resolve(self._path)
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array without a shape")
        if order not in ("C", "F"):
            raise pickle.UnpicklingError("an array without an order")
        size = dtype.itemsize
        for n in shape:
            size *= n
        if about.get("numpy_array_alignment_bytes") is not None:
            self._stream.skip(self._stream.read(1)[0])
        # A pickled dictionary is its keys and values in turn: the key lies below its value.
        if len(self.stack) < 2 or self.stack[-2] != KEPT:
            self._stream.skip(size)
            return None
        flat = np.frombuffer(self._stream.read(size, "array"), dtype)
        array = flat.reshape(shape, order=order)
        return np.ascontiguousarray(array.astype(dtype.newbyteorder("="), copy=True))

    def _set_items(self, items: list[Any], target: Any) -> None:
        if type(target) is not dict:
            raise pickle.UnpicklingError("items for something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                raise pickle.UnpicklingError("a key that is neither text nor number")
            target[key] = value

    def load_setitem(self) -> None:
        """One item of a dictionary."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value], self.stack[-1])

    def load_setitems(self) -> None:
        """Several items of a dictionary."""
        items = self.pop_mark()
        self._set_items(items, self.stack[-1])

    def load_dict(self) -> None:
        """A dictionary from the items above the mark."""
        target: dict[Any, Any] = {}
        self._set_items(self.pop_mark(), target)
        self.append(target)

    def load_append(self) -> None:
        """One entry of a list."""
        value = self.stack.pop()
        self._extend([value])

    def load_appends(self) -> None:
        """Several entries of a list."""
        self._extend(self.pop_mark())

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise pickle.UnpicklingError("entries for something that is no list")
        self.stack[-1].extend(values)

    def refuse(self) -> None:
        """Refuse an opcode."""
        raise pickle.UnpicklingError("an instruction that no codebook needs")


for _opcode, _method in (
    (pickle.BUILD, InertUnpickler.load_build),
    (pickle.SETITEM, InertUnpickler.load_setitem),
    (pickle.SETITEMS, InertUnpickler.load_setitems),
    (pickle.DICT, InertUnpickler.load_dict),
    (pickle.APPEND, InertUnpickler.load_append),
    (pickle.APPENDS, InertUnpickler.load_appends),
    *((opcode, InertUnpickler.refuse) for opcode in _REFUSED),
):
    InertUnpickler.dispatch[_opcode[0]] = _method
