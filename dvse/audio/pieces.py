"""A file as a decoder should see it: one or more pieces, each a recording of its own.

Most files are one piece, all of their bytes. Joined files (`cat a.mp3 b.mp3`, chained Ogg) have
several. A piece may begin with bytes that replace the file's own (a header that states no
length) and may claim to be longer than it is, for decoders that guess a length from the size.
"""

import io
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a file that holds one recording.

    Attributes:
        start, stop: half-open range of its bytes in the file.
        header: bytes that stand in front, for the first `start` bytes of the file.
        claimed_size: what a decoder is told of its size, where that is not the true one.
        num_samples: samples per channel that must come out, `None` where the decoder knows.
    """

    start: int
    stop: int
    header: bytes = b""
    claimed_size: int | None = None
    num_samples: int | None = None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the structure of a file says.

    Attributes:
        pieces: in order; empty for all of the file as it is.
        problem: why it is refused.
        is_length_missing: refused only where nobody else says how long it is.
    """

    pieces: tuple[Piece, ...] = ()
    problem: str | None = None
    is_length_missing: bool = False


WHOLE = Survey()
JOINED = Survey(
    problem="a second recording follows the first in it, and this kind of file cannot be joined "
    "so; cut it apart"
)
_TAG_SIZE = 128
"""Of an ID3v1 tag: a decoder looks for one before the claimed end, and must find bytes there."""


def truncated(num_bytes: int) -> Survey:
    """Return the survey of a file that lacks `num_bytes` at its end, whole if that is below 1.

    >>> truncated(0).problem
    """
    if num_bytes <= 0:
        return WHOLE
    return Survey(
        problem=f"truncated, at least {num_bytes} bytes are missing at its end; copy it again"
    )


def without_length(kind: str) -> Survey:
    """Return the survey of a kind of file that states no length.

    >>> without_length("a PVF file").is_length_missing
    True
    """
    problem = (
        f"{kind} states no length, so a truncated file looks like a whole one; "
        "convert it to WAV, or say its duration in a manifest"
    )
    return Survey(problem=problem, is_length_missing=True)


class PieceFile(io.RawIOBase):
    """Reads one piece as if it were a file.

    >>> file = io.BytesIO(b"RIFF....sound")
    >>> PieceFile(file, Piece(start=4, stop=13, header=b"RIFX")).readall()
    b'RIFX....sound'
    """

    def __init__(self, file: BinaryIO, piece: Piece) -> None:
        self._file, self._piece = file, piece
        self._size = len(piece.header) + piece.stop - piece.start
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Return the place."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; the end lies at the claimed size."""
        end = self._size if self._piece.claimed_size is None else self._piece.claimed_size
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: end}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: object) -> int:
        """Fill a buffer; 0 at the end."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        header, claimed = self._piece.header, self._piece.claimed_size
        if claimed is not None and self._size < claimed - _TAG_SIZE <= self._position:
            data = bytes(min(len(view), max(0, claimed - self._position)))
        elif self._position < len(header):
            data = header[self._position : self._position + len(view)]
        else:
            left = min(len(view), self._size - self._position)
            if left <= 0:
                return 0
            self._file.seek(self._piece.start + self._position - len(header))
            count = self._file.readinto(view[:left]) or 0  # type: ignore[attr-defined]
            self._position += count
            return int(count)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
