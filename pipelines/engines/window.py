"""The work of one device on a window of chunks: encode together, then rows of complete inputs.

Chunks of many inputs share a window; an error costs the input it belongs to and no other. A batch
has a fixed number of rows, so the last chunks of a shape wait for the next window where they would
leave one half empty; they wait once at most, or an odd shape would hold up its partition.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import not_
from typing import Any, NamedTuple

from dvse.chunk import Chunk
from dvse.errors import InputError
from pipelines.filtering.gate import Examined
from pipelines.sources.loading import Loaded
from pipelines.sources.record import Failure
from pipelines.steps.step import DeviceWork


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
    """Rows and failures by key; a row with a `filter` is of an input that the gate refused."""

    rows: list[tuple[Any, dict[str, Any]]]
    failures: list[tuple[Any, Failure]]


class _Shape(NamedTuple):
    """What chunks share that are computed together, so many at a time."""

    modality: str
    size: tuple[int, ...]
    rows: int


class Assembly:
    """Collects the outputs of inputs whose chunks arrive in several windows."""

    def __init__(self, work: DeviceWork) -> None:
        self._work = work
        self._outputs: dict[Hashable, list[Any]] = {}
        self._dead: set[Hashable] = set()
        self._held: list[Piece] = []

    @property
    def holds(self) -> bool:
        """Whether pieces wait for the next window."""
        return bool(self._held)

    def are_full(self, pieces: Sequence[Piece]) -> bool:
        """Whether what waits and these pieces fill a batch of each of their shapes."""
        shapes = (self._shapes(piece) for piece in (*self._held, *pieces))
        return all(count >= shape.rows for shape, count in sum(shapes, start=Counter()).items())

    def forget(self, key: Hashable) -> None:
        """Drop what has arrived of an input that will not be completed."""
        self._held = [piece for piece in self._held if piece.key != key]
        self._outputs.pop(key, None)
        self._dead.discard(key)

    def run(self, pieces: Sequence[Piece], *, is_last: bool = True) -> WindowResult:
        """Encode a window and return the rows of the inputs that it completes.

        Args:
            pieces: new ones, in order.
            is_last: nothing more is coming soon, so none may wait.
        """
        waits = [False] * len(pieces) if is_last else self._which_wait(pieces)
        window = [*self._held, *compress(pieces, map(not_, waits))]
        self._held = list(compress(pieces, waits))
        failures: list[tuple[Hashable, Failure]] = []
        self._encode(window, failures)
        complete: list[tuple[Hashable, tuple[Loaded, list[Any]]]] = []
        refused: list[tuple[Any, dict[str, Any]]] = []
        for piece in window:
            if piece.loaded is None:
                continue
            if piece.key in self._outputs:
                outputs = self._outputs.pop(piece.key)
                if isinstance(piece.loaded, Examined) and piece.loaded.refusal is not None:
                    refused.append((piece.key, piece.loaded.refused_row()))
                else:
                    complete.append((piece.key, (piece.loaded, outputs)))
            self._dead.discard(piece.key)
        return WindowResult([*self._rows(complete, failures), *refused], failures)

    def _which_wait(self, pieces: Sequence[Piece]) -> list[bool]:
        """For each piece, whether it is one of the last, which would leave a batch half empty."""
        shapes = [self._shapes(piece) for piece in (*self._held, *pieces)]
        spare: Counter[_Shape] = Counter()
        for shape, count in sum(shapes, start=Counter()).items():
            spare[shape] = count % shape.rows
        waits: list[bool] = []
        computed: set[Hashable] = set()
        for piece, counts in zip(reversed(pieces), reversed(shapes), strict=False):
            # A later piece of the same input that is computed now must not overtake this one.
            waits.append(bool(counts) and counts <= spare and piece.key not in computed)
            if waits[-1]:
                spare -= counts
            else:
                computed.add(piece.key)
        return waits[::-1]

    def _shapes(self, piece: Piece) -> "Counter[_Shape]":
        rows = [(chunk, self._work.batch_rows(chunk)) for chunk in piece.chunks]
        return Counter(_Shape(chunk.modality, chunk.shape, n) for chunk, n in rows if n > 1)

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
            for key, row, (_, (loaded, _)) in zip(keys, rows, complete, strict=True):
                if isinstance(row, InputError):
                    failures.append((key, Failure.of("encode", row)))
                elif isinstance(loaded, Examined):
                    found.append((key, row | {"marks": loaded.marks}))
                else:
                    found.append((key, row))
            return found
        except Exception as error:
            if len(complete) == 1:
                failures.append((keys[0], Failure.of("encode", error)))
                return []
        return [pair for one in complete for pair in self._rows([one], failures)]
