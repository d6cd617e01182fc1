"""Many rows through the encoders, several at a time, in bounded memory.

Chunks of neighbouring rows are encoded together, for speed alone: what comes together never
changes a code. Knows the order of the steps, not what a chunk holds.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dvse.chunk import Chunk, EncodedChunk
from dvse.errors import InputError

_MEDIA_AT_ONCE = 64  # pictures and windows of recordings, a few full forward passes
_CHUNKS_AT_ONCE = 1024  # of any kind; text and special tokens are encoded one by one anyway

_Row = TypeVar("_Row")
_Encoding = TypeVar("_Encoding")


def encode_rows(
    rows: Iterable[_Row],
    *,
    chunks_of: Callable[[_Row], Iterable[Chunk]],
    encode: Callable[[Sequence[Chunk]], Sequence[EncodedChunk]],
    assemble: Callable[[Sequence[EncodedChunk]], _Encoding],
    name_of: Callable[[_Row], str] = lambda row: "",
    batch_rows: Callable[[Chunk], int] = lambda chunk: 1,
) -> Iterator[_Encoding | InputError]:
    """Yield for each row, in order, what `assemble` makes of it or the error that it cost.

    Args:
        rows: read as they are needed.
        chunks_of: the chunks of a row, lazily; an `InputError` of it costs that row alone.
        encode: codes of chunks of any rows, in order; where it raises `InputError` each row is
            tried alone, so that it costs the row to blame.
        assemble: one row from its encoded chunks.
        name_of: what a message calls a row whose chunks could not be encoded.
        batch_rows: chunks of this shape that a forward pass takes; at least so many are awaited.

    >>> chunks = lambda row: [Chunk(modality="text", data=word) for word in row.split()]
    >>> encode = lambda chunks: [EncodedChunk(modality="text", codes=c.data) for c in chunks]
    >>> join = lambda encoded: "+".join(one.codes for one in encoded)
    >>> list(encode_rows(["a b", "", "c"], chunks_of=chunks, encode=encode, assemble=join))
    ['a+b', '', 'c']
    """
    waiting: deque[_Pending] = deque()
    buffer: list[tuple[_Pending, Chunk]] = []
    num_media, at_once = 0, _MEDIA_AT_ONCE

    def flush() -> None:
        _encode(buffer, encode, name_of)
        buffer.clear()

    for row in rows:
        pending = _Pending(row)
        waiting.append(pending)
        try:
            for chunk in chunks_of(row):
                buffer.append((pending, chunk))
                num_media += chunk.is_media
                at_once = max(at_once, batch_rows(chunk))
                if num_media >= at_once or len(buffer) >= _CHUNKS_AT_ONCE:
                    flush()
                    num_media = 0
        except InputError as error:
            pending.error = error
            buffer[:] = [(p, c) for p, c in buffer if p is not pending]
            num_media = sum(c.is_media for _, c in buffer)
        if not buffer or len(waiting) >= at_once:
            flush()
            num_media = 0
            while waiting:
                yield waiting.popleft().finish(assemble)
    flush()
    while waiting:
        yield waiting.popleft().finish(assemble)


@dataclass(eq=False)
class _Pending:
    """A row that waits for its chunks to be encoded."""

    row: Any
    encoded: list[EncodedChunk] = field(default_factory=list)
    error: InputError | None = None

    def finish(
        self, assemble: Callable[[Sequence[EncodedChunk]], _Encoding]
    ) -> _Encoding | InputError:
        return self.error or assemble(self.encoded)


def _encode(
    buffer: Sequence[tuple[_Pending, Chunk]],
    encode: Callable[[Sequence[Chunk]], Sequence[EncodedChunk]],
    name_of: Callable[[Any], str],
) -> None:
    """Encode chunks together; where that fails, row by row, so that it costs the row to blame."""
    try:
        encoded = encode([chunk for _, chunk in buffer])
        for (pending, _), one in zip(buffer, encoded, strict=True):
            pending.encoded.append(one)
    except InputError:
        for pending in dict.fromkeys(pending for pending, _ in buffer):
            try:
                pending.encoded.extend(encode([c for p, c in buffer if p is pending]))
            except InputError as error:
                pending.error = type(error)(f"{name_of(pending.row)}{error}")
