"""What the tokenizers of pictures and of recordings share where a graph computes their codes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dvse.chunk import Chunk
from dvse.errors import ConfigError
from dvse.fixed_batches import map_batches
from dvse.media_tokenizer import MediaTokenizer
from dvse.onnx_graph import OnnxGraph

GRAPH_FILE = "codes.onnx"
_BATCH_TOKENS = 256
KIND = "onnx"
"""What the spec of a section says whose codes a graph computes."""


class OnnxTokenizer(MediaTokenizer):
    """Chunks to codes by one graph; features stay inside it, and there is no way back.

    Args:
        graph: chunks `[N, ...]` to codes `int32 [N, positions, num_levels]`.
        num_codes, num_levels: of the codebook in it.
    """

    input_name: str
    quantizer = None
    """Codes are searched inside the graph."""

    def __init__(self, graph: OnnxGraph, *, num_codes: int, num_levels: int) -> None:
        self._graph = graph
        self.num_codes, self.num_levels = num_codes, num_levels

    @property
    def default_batch_tokens(self) -> int:
        """The most tokens of a run where nobody chose `batch_tokens`."""
        return _BATCH_TOKENS

    def encode(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Return codes `int32 [kept positions, num_levels]` of each chunk, in order."""

        def codes(batch: np.ndarray) -> np.ndarray:
            return self._graph.run(None, {self.input_name: batch})[0]

        return map_batches(chunks, self.batch_rows, codes)

    def embed(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        """Refuse: a graph gives codes.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(_NO_FEATURES)

    def quantize(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Refuse: a graph gives codes.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(_NO_FEATURES)

    def save_files(self, folder: Path) -> None:
        """Refuse: a graph is not made again from what is loaded.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("an exported bundle is copied as it is; export it again to change it")


def whole_numbers(spec: Any, *names: str) -> dict[str, int]:
    """Return the named positive whole numbers of a spec.

    Raises:
        ConfigError: one that is missing or something else.
    """
    found = {name: spec.get(name) for name in names}
    for name, value in found.items():
        if type(value) is not int or value < 1:
            raise ConfigError(f"expected a positive whole number as {name}, received {value!r}")
    return found


_NO_FEATURES = (
    "an exported bundle gives codes and keeps its features to itself; load the bundle that it was "
    "exported from"
)
