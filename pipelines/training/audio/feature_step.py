"""Features of recordings as a step of an engine, so that the nodes of a cluster can encode.

What comes back is what one process makes, block by block: a recording that breaks off gives the
features before the break, and the reason. Knows nothing of k-means and of the order of files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from dvse.audio.hub_weights import weights_sha256
from dvse.audio.preparer import AudioPreparer
from dvse.audio.tokenizer import AudioTokenizer
from dvse.chunk import Chunk
from dvse.errors import InputError
from dvse.items import Item
from dvse.numerics import NumericsProfile
from dvse.precision import Precision
from pipelines.sources.loading import Loaded
from pipelines.steps.step import DeviceWork, Step, StepDescription


@dataclass(frozen=True, kw_only=True)
class FeatureStep(Step):
    """Encode recordings up to the layer that is clustered.

    Attributes:
        make: loads the tokenizer onto a device; picklable, for it is called where that device is.
        threads, precision: of the encoder.
    """

    make: Callable[[str], AudioTokenizer]
    threads: int = 1
    precision: Precision = "float32"
    name: str = field(default="features", init=False)

    def identity(self) -> dict[str, Any]:
        """Return the name: k-means holds its features against what they are of itself."""
        return {"step": self.name}

    def quick_profile(self, device: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """Return nothing: no job is gone on with."""
        return {}

    def open(self, device: str) -> "FeatureWork":
        """Load the encoder."""
        kind = device.partition(":")[0]
        profile = NumericsProfile.current(
            device=device, threads=self.threads, precision=self.precision
        )
        torch.set_num_threads(self.threads if kind == "cpu" else 1)
        tokenizer = self.make(device)
        weights = weights_sha256(tokenizer.encoder.model)
        return FeatureWork(
            tokenizer.in_precision(self.precision), {**profile.to_dict(), "weights": weights}
        )


class FeatureWork(DeviceWork):
    """An encoder on a device."""

    def __init__(self, tokenizer: AudioTokenizer, profile: Mapping[str, Any]) -> None:
        self._tokenizer, self._profile = tokenizer, profile

    def describe(self) -> StepDescription:
        """Return what computes; `weights` in its profile is the hash of the encoder."""
        return StepDescription(
            schema=pa.schema([]),
            profile=self._profile,
            preparer=_UpToTheBreak(self._tokenizer.preparer),
        )

    def encode(self, chunks: Sequence[Chunk]) -> list[np.ndarray | str]:
        """Return the features of each chunk, or why there are none."""
        sounds = [chunk for chunk in chunks if chunk.modality == "audio"]
        found = iter(self._embedded(sounds))
        return [str(c.data) if c.modality != "audio" else next(found) for c in chunks]

    def _embedded(self, sounds: list[Chunk]) -> Sequence[np.ndarray | str]:
        try:
            return self._tokenizer.embed(sounds)
        except InputError as error:
            if len(sounds) == 1:
                return [str(error)]
            return [one for sound in sounds for one in self._embedded([sound])]

    def batch_rows(self, chunk: Chunk) -> int:
        """Return the rows of the forward pass that the chunk will be in."""
        return self._tokenizer.batch_rows(chunk.shape) if chunk.modality == "audio" else 1

    def rows(self, inputs: Sequence[tuple[Loaded, list[np.ndarray | str]]]) -> list[dict[str, Any]]:
        """Return for each recording its `blocks` of features, and the `reason` where it ended."""
        return [_row(outputs) for _, outputs in inputs]


@dataclass(frozen=True)
class _UpToTheBreak:
    """Chunks of recordings; where one breaks off, a chunk that says why is the last of them."""

    preparer: AudioPreparer

    def chunks(self, sequence: Sequence[Item]) -> Iterator[Chunk]:
        """Yield them in order."""
        try:
            for item in sequence:
                yield from self.preparer.prepare(item)
        except InputError as error:
            yield Chunk(modality="text", data=str(error))


def _row(outputs: Sequence[np.ndarray | str]) -> dict[str, Any]:
    blocks: list[np.ndarray] = []
    for output in outputs:
        if isinstance(output, str):
            return {"blocks": blocks, "reason": output}
        blocks.append(output)
    return {"blocks": blocks, "reason": None}
