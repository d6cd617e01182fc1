"""Reading of each stored tensor what a process needs, straight into memory of its own.

Mapped weights come page by page as they are touched, slower than a disk gives them in a row, and
what was mapped counts as a process's memory although only a part of it is kept. Here the bytes
of a share are read in large pieces, the columns of a matrix through a buffer of a few rows. Knows
files and slices, no model: transformers' loader asks a `StoredTensor` what it would ask
safetensors' own slices.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from .errors import CheckpointError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_PIECE = 8 << 20  # bytes that are asked for at once
_BUFFER = 1 << 20  # a processor's cache holds it until its columns are copied

Cut = tuple[int, int]


class StoredTensor:
    """A tensor in a safetensors file; indexing reads the part that is asked for.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import save_file
        >>> file = Path(tempfile.mkdtemp()) / "one.safetensors"
        >>> save_file({"w": torch.arange(6).view(2, 3)}, file)
        >>> with stored_tensors([file]) as stored:
        ...     stored["w"].get_shape(), stored["w"][:, 1:].to().tolist()
        ([2, 3], [[1, 2], [4, 5]])
    """

    def __init__(self, source: "_File", dtype: str, shape: Sequence[int], start: int) -> None:
        self._source, self._dtype, self._shape, self._start = source, dtype, list(shape), start

    def get_shape(self) -> list[int]:
        """Return the shape of the whole tensor."""
        return list(self._shape)

    def get_dtype(self) -> str:
        """Return the element type by safetensors' name, such as `BF16`."""
        return self._dtype

    def __getitem__(self, index: Any) -> "StoredPart":
        """Return the part between slices of step 1, one a dimension; missing ones mean all."""
        given = index if isinstance(index, tuple) else (index,)
        given = () if given == (Ellipsis,) else given
        cuts = [(0, size) for size in self._shape]
        for dim, part in enumerate(given):
            start, stop, step = part.indices(self._shape[dim])
            assert step == 1
            cuts[dim] = (start, max(start, stop))
        return StoredPart([(self, cuts)])

    def read(self, cuts: list[Cut], out: torch.Tensor) -> None:
        """Fill `out` with the part between these cuts."""
        _read(self._source, self._start, self._shape, cuts, out)

    @property
    def dtype(self) -> torch.dtype:
        """The element type."""
        return _DTYPES[self._dtype]


class StoredPart:
    """Parts of stored tensors side by side, not read yet: `to` reads them into one tensor."""

    def __init__(self, pieces: list[tuple[StoredTensor, list[Cut]]], dim: int = 0) -> None:
        self._pieces, self._dim = pieces, dim

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> "StoredPart":
        """Take `torch.cat`, which transformers puts the parts of a packed weight together with."""
        if function is not torch.cat:
            raise NotImplementedError(f"{function} of stored tensors: read them first.")
        parts, dim = args[0], (kwargs or {}).get("dim", args[1] if len(args) > 1 else 0)
        return cls([piece for part in parts for piece in part._pieces], dim)

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Read everything.

        Raises:
            CheckpointError: the file ends before the tensor does.
        """
        stored, cuts = self._pieces[0]
        shape = [stop - start for start, stop in cuts]
        if len(self._pieces) > 1:
            dim = self._dim
            shape[dim] = sum(cuts[dim][1] - cuts[dim][0] for _, cuts in self._pieces)
        out = torch.empty(shape, dtype=stored.dtype)
        place = 0
        for stored, cuts in self._pieces:
            part = out
            if len(self._pieces) > 1:
                size = cuts[self._dim][1] - cuts[self._dim][0]
                part = out.narrow(self._dim, place, size)
                place += size
            if part.numel():
                stored.read(cuts, part)
        return out.to(device=device, dtype=dtype)


class _File:
    """An open safetensors file, found to be whole: its header, and bytes at an offset."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, framework="pt"):  # it checks sizes and offsets
                pass
        except SafetensorError as error:
            raise self._cut_off() from error
        self._number = os.open(path, os.O_RDONLY)
        length = bytearray(8)
        self.into(memoryview(length), 0)
        header = bytearray(int.from_bytes(length, "little"))
        self.into(memoryview(header), 8)
        self.header: dict[str, Any] = json.loads(header)
        self.header.pop("__metadata__", None)
        self.data_start = 8 + len(header)

    def close(self) -> None:
        os.close(self._number)

    def will_need(self, at: int, length: int) -> None:
        """Let the system fetch bytes while others are copied: one reader leaves a disk idle."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._number, at, length, os.POSIX_FADV_WILLNEED)

    def into(self, buffer: memoryview, at: int) -> None:
        """Fill a buffer with the bytes from an offset on."""
        done = 0
        while done < len(buffer):
            count = os.preadv(self._number, [buffer[done : done + _PIECE]], at + done)
            if count == 0:
                raise self._cut_off()
            done += count

    def _cut_off(self) -> CheckpointError:
        return CheckpointError(
            f"{self.path} is cut off or no safetensors file: copy or download it again."
        )


@contextmanager
def stored_tensors(files: Sequence[str | Path]) -> Iterator[dict[str, StoredTensor]]:
    """Give the tensors of safetensors files by name; the files stay open as long.

    Raises:
        CheckpointError: a file is cut off, or holds a type of number that torch does not have.
    """
    found = {}
    with ExitStack() as stack:
        for name in files:
            source = _File(Path(name))
            stack.callback(source.close)
            for key, entry in source.header.items():
                if entry["dtype"] not in _DTYPES:
                    raise CheckpointError(
                        f"{name}: {key} holds {entry['dtype']}, expected one of "
                        f"{', '.join(_DTYPES)}."
                    )
                start = source.data_start + entry["data_offsets"][0]
                found[key] = StoredTensor(source, entry["dtype"], entry["shape"], start)
        yield found


def _read(source: _File, start: int, shape: list[int], cuts: list[Cut], out: torch.Tensor) -> None:
    """Fill `out` with the cuts of the tensor of this shape that begins at `start`."""
    inner = math.prod(shape[1:]) * out.element_size()  # bytes of one index of the first dimension
    first, last = cuts[0] if cuts else (0, 1)
    start += first * inner
    source.will_need(start, (last - first) * inner)
    if all(cut == (0, size) for cut, size in zip(cuts[1:], shape[1:], strict=True)):
        source.into(_bytes_of(out), start)
    elif inner > _PIECE:
        for number, part in enumerate(out):
            _read(source, start + number * inner, shape[1:], cuts[1:], part)
    else:
        many = max(1, _BUFFER // inner)
        buffer = torch.empty([min(many, last - first), *shape[1:]], dtype=out.dtype)
        within = tuple(slice(*cut) for cut in cuts[1:])
        for done in range(0, last - first, many):
            rows = buffer[: min(many, last - first - done)]
            source.into(_bytes_of(rows), start + done * inner)
            out[done : done + many].copy_(rows[(slice(None), *within)])


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    array: Any = tensor.view(-1).view(torch.uint8).numpy()
    return memoryview(array)
