"""The pickle machine of the standard library with nothing behind its names.

Every name that a pickle looks up must stand on an exact list and means a class of ours, which keeps
shapes, dtypes and bytes and can do nothing. A prefix ("sklearn.*") would not be safe: those
packages hold functions that run code.
"""

import io
import pickle
import struct
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from dvse.errors import UnsafeFileError, WeightsFormatError
from pipelines.importing.inert_objects import (
    INERT_NAMES,
    ArrayWrapper,
    Estimator,
    Inert,
    array_size,
    native_array,
)

MAX_ARRAY_BYTES = 1 << 30  # a codebook of 100,000 codes in 2,560 channels, fp32
MAX_SKIPPED_BYTES = 4 << 30  # read past, not held: labels of the training set lie in some dumps
MAX_OTHER_BYTES = 4 << 20  # everything that is no array: a few kB in any real dump
KEPT = "cluster_centers_"

_LARGE = 1 << 16  # what is written at once in this size is the bytes of an array
_BLOCK = 1 << 20


class BoundedStream:
    """Reads what is asked for, whole, and no more of each kind than a dump may hold."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self._left = {"other": MAX_OTHER_BYTES, "array": MAX_ARRAY_BYTES, "skip": MAX_SKIPPED_BYTES}

    def read(self, size: int, kind: str = "") -> bytes:
        """Return `size` bytes, all of them, counted under `kind`: by default what they seem to be.

        They are read a block at a time: a size that a dump only claims costs no memory.
        """
        self._left[kind or ("array" if size >= _LARGE else "other")] -= size
        if min(self._left.values()) < 0:
            raise WeightsFormatError(
                f"{self._path}: expected a codebook of at most {MAX_ARRAY_BYTES >> 20} MB and "
                "little beside it, received more"
            )
        if size <= _BLOCK:
            data = self._file.read(size)
            if len(data) != size:
                raise EOFError("it ends too early")
            return data
        parts = io.BytesIO()
        while size:
            block = self._file.read(min(size, _BLOCK))
            if not block:
                raise EOFError("it ends too early")
            size -= parts.write(block)
        return parts.getvalue()

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


# Nothing of a codebook needs these. Sets and keys of nested tuples cost exponential time to hash.
_REFUSED = (
    *(pickle.PERSID, pickle.BINPERSID, pickle.EXT1, pickle.EXT2, pickle.EXT4),
    *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
    *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)


class InertUnpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """The standard library's own machine in Python, with inert classes for names."""

    stack: list[Any]
    append: Any
    read: Any
    pop_mark: Any
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, stream: BoundedStream, path: Path) -> None:
        super().__init__(stream, encoding="latin1")
        self._stream, self._path = stream, path

    def find_class(self, module: str, name: str) -> Any:
        """Return the inert class that stands for a name; raise `UnsafeFileError` off the list."""
        full = f"{module}.{name}"
        if full not in INERT_NAMES:
            raise UnsafeFileError(
                f"{self._path}: expected a dump of k-means and nothing else, received one that "
                f"looks up {full[:80]!r}; it was not run. Ask its author for a .npy or safetensors "
                "file of the centroids"
            )
        return INERT_NAMES[full]

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
        if not isinstance(about, dict):
            raise pickle.UnpicklingError("an array without its description")
        shape, order = about.get("shape"), about.get("order")
        size, number = array_size(shape, about.get("dtype"), order, self._path)
        if about.get("numpy_array_alignment_bytes") is not None:
            self._stream.skip(self._stream.read(1)[0])
        # A pickled dictionary is its keys and values in turn: the key lies below its value.
        if len(self.stack) < 2 or self.stack[-2] != KEPT:
            self._stream.skip(size)
            return None
        return native_array(self._stream.read(size, "array"), number, shape, order)

    def load_bytearray8(self) -> None:
        """Bytes that may be changed, of protocol 5; here as others."""
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(size))

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
    (pickle.BYTEARRAY8, InertUnpickler.load_bytearray8),
    (pickle.SETITEM, InertUnpickler.load_setitem),
    (pickle.SETITEMS, InertUnpickler.load_setitems),
    (pickle.DICT, InertUnpickler.load_dict),
    (pickle.APPEND, InertUnpickler.load_append),
    (pickle.APPENDS, InertUnpickler.load_appends),
    *((opcode, InertUnpickler.refuse) for opcode in _REFUSED),
):
    InertUnpickler.dispatch[_opcode[0]] = _method
