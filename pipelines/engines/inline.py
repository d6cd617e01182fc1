"""The engine for small jobs and for debugging: everything in this process, in order."""

from collections.abc import Iterator

from pipelines.engines.engine import Engine, Numbered, Outcome
from pipelines.engines.preparing import chunk_bytes, pieces
from pipelines.engines.window import Assembly, Piece
from pipelines.sources.record import Failure
from pipelines.steps.step import DeviceWork, Step, StepDescription

_WINDOW_BYTES = 64 << 20


class InlineEngine(Engine):
    """Runs a step without any other process. A decoder that crashes takes the job with it.

    Args:
        device: where the encoders run.
        max_chunks: chunks that are handed to them at once.
    """

    def __init__(self, *, device: str = "cpu", max_chunks: int = 256) -> None:
        self._device = device
        self._max_chunks = max_chunks
        self._work: DeviceWork | None = None

    def open(self, step: Step) -> StepDescription:
        """Load the step here."""
        self._work = step.open(self._device)
        return self._work.describe()

    def run(self, records: Iterator[Numbered | None]) -> Iterator[Outcome]:
        """Yield an outcome for each record."""
        assert self._work is not None, "open the engine first"
        assembly = Assembly(self._work)
        preparer = self._work.describe().preparer
        waiting: dict[int, Numbered] = {}
        window: list[Piece] = []
        num_chunks = size = 0
        for numbered in records:
            if self.is_stopped():
                return
            if numbered is None:  # who feeds may wait for what is held here
                yield from self._flush(assembly, window, waiting, is_last=True)
                window, num_chunks, size = [], 0, 0
                continue
            if numbered.record.failure is not None:
                yield Outcome.failed(numbered, numbered.record.failure)
                continue
            waiting[numbered.index] = numbered
            for piece in pieces(preparer, numbered.record, numbered.index):
                if isinstance(piece, Failure):
                    window = [p for p in window if p.key != numbered.index]
                    assembly.forget(numbered.index)
                    if waiting.pop(numbered.index, None) is not None:
                        yield Outcome.failed(numbered, piece)
                    break
                window.append(piece)
                num_chunks += len(piece.chunks)
                size += sum(map(chunk_bytes, piece.chunks))
                if num_chunks >= self._max_chunks or size >= _WINDOW_BYTES:
                    yield from self._flush(assembly, window, waiting, is_last=False)
                    window, num_chunks, size = [], 0, 0
        yield from self._flush(assembly, window, waiting, is_last=True)

    def close(self) -> None:
        """Let the weights go."""
        self._work = None

    def _flush(
        self,
        assembly: Assembly,
        window: list[Piece],
        waiting: dict[int, Numbered],
        *,
        is_last: bool,
    ) -> Iterator[Outcome]:
        result = assembly.run(window, is_last=is_last)
        for key, row in result.rows:
            yield Outcome.done(waiting.pop(key), row)
        for key, failure in result.failures:
            yield Outcome.failed(waiting.pop(key), failure)
