"""The work of one device on a window of chunks: encode together, then rows of complete inputs.

Chunks of many inputs share a window; an error costs the input it belongs to and no other.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from dvse.chunk import Chunk
from dvse.errors import InputError
from pipelines.job.step import DeviceWork, Loaded
from pipelines.sources.record import Failure


@dataclass(frozen=True, slots=True)
class Piece:
    """Some chunks of one input, in order.

    Attributes:
        key: which input.
        chunks: may be empty.
        loaded: set on the last piece of the input.
    """

    key: Hashable
    chunks: list[Chunk]
    loaded: Loaded | None


@dataclass(frozen=True, slots=True)
class WindowResult:
    """Rows and failures by key."""

    rows: list[tuple[Any, dict[str, Any]]]
    failures: list[tuple[Any, Failure]]


class Assembly:
    """Collects the outputs of inputs whose chunks arrive in several windows."""

    def __init__(self, work: DeviceWork) -> None:
        self._work = work
        self._outputs: dict[Hashable, list[Any]] = {}
        self._dead: set[Hashable] = set()

    def forget(self, key: Hashable) -> None:
        """Drop what has arrived of an input that will not be completed."""
        self._outputs.pop(key, None)
        self._dead.discard(key)

    def run(self, pieces: Sequence[Piece]) -> WindowResult:
        """Encode a window and return the rows of the inputs that it completes."""
        failures: list[tuple[Hashable, Failure]] = []
        self._encode(pieces, failures)
        complete: list[tuple[Hashable, tuple[Loaded, list[Any]]]] = []
        for piece in pieces:
            if piece.loaded is None:
                continue
            if piece.key in self._outputs:
                complete.append((piece.key, (piece.loaded, self._outputs.pop(piece.key))))
            self._dead.discard(piece.key)
        return WindowResult(self._rows(complete, failures), failures)

    def _encode(self, pieces: Sequence[Piece], failures: list[tuple[Hashable, Failure]]) -> None:
        pieces = [piece for piece in pieces if piece.key not in self._dead]
        chunks = [chunk for piece in pieces for chunk in piece.chunks]
        try:
            outputs = iter(self._work.encode(chunks) if chunks else [])
        except Exception as error:
            if len(pieces) > 1:  # one of them is to blame: find it, the others go on
                for piece in pieces:
                    self._encode([piece], failures)
                return
            self._outputs.pop(pieces[0].key, None)
            if pieces[0].loaded is None:
                self._dead.add(pieces[0].key)
            failures.append((pieces[0].key, Failure.of("encode", error)))
            return
        for piece in pieces:
            self._outputs.setdefault(piece.key, []).extend(next(outputs) for _ in piece.chunks)

    def _rows(
        self,
        complete: list[tuple[Hashable, tuple[Loaded, list[Any]]]],
        failures: list[tuple[Hashable, Failure]],
    ) -> list[tuple[Any, dict[str, Any]]]:
        if not complete:
            return []
        keys = [key for key, _ in complete]
        try:
            rows = self._work.rows([inputs for _, inputs in complete])
            found = []
            for key, row in zip(keys, rows, strict=True):
                if isinstance(row, InputError):
                    failures.append((key, Failure.of("encode", row)))
                else:
                    found.append((key, row))
            return found
        except Exception as error:
            if len(complete) == 1:
                failures.append((keys[0], Failure.of("encode", error)))
                return []
        return [pair for one in complete for pair in self._rows([one], failures)]
