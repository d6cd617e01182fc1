"""What a job does to each input: the contract that tokenising, captioning and feature work fulfil.

    record ─ load ─► items ─ preparer ─► chunks ─ DeviceWork.encode ─► outputs ─ rows ─► shard
             └──── decode workers ────┘           └── one process a device ──┘         └ writer ┘

A step is small and picklable; what is heavy is made by `open`, in the process of the device.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from dvse.chunk import Chunk
from dvse.errors import InputError
from dvse.items import Item
from pipelines.sources.loading import Loaded

if TYPE_CHECKING:
    import pyarrow as pa  # decode workers have no use for it


class ChunkMaker(Protocol):
    """The picklable half of a step that decode workers run; `dvse.preparers.Preparers` is one."""

    def chunks(self, sequence: Sequence[Item]) -> Iterator[Chunk]:
        """Yield the chunks of one row in order; raise `InputError` for bad input."""


@dataclass(frozen=True, kw_only=True)
class StepDescription:
    """What a step says of itself once it is open.

    Attributes:
        schema: columns of its shards.
        metadata: key-value pairs for each shard.
        profile: the numerics profile, as JSON.
        preparer: goes to the decode workers.
    """

    schema: "pa.Schema"
    metadata: Mapping[str, str] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    preparer: ChunkMaker


class DeviceWork(ABC):
    """A step opened on one device. Holds weights; lives in one process."""

    @abstractmethod
    def describe(self) -> StepDescription:
        """Return schema, metadata, profile and preparer."""

    @abstractmethod
    def encode(self, chunks: Sequence[Chunk]) -> list[Any]:
        """Return an output for each chunk, in order; neighbours never change an output."""

    def batch_rows(self, chunk: Chunk) -> int:
        """Return how many chunks like this one are computed together; a batch is filled up to it.

        An engine lets a few chunks wait for others of their shape, so that little is computed for
        nothing.
        """
        return 1

    @abstractmethod
    def rows(
        self, inputs: Sequence[tuple[Loaded, list[Any]]]
    ) -> Sequence[dict[str, Any] | InputError]:
        """Return for each input, in order, its row from the outputs of its chunks, or its error."""


class Step(ABC):
    """What to do, before anything heavy is loaded."""

    name: str

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what two runs must share to be one job, as flat JSON; cheap, without torch.

        Raises:
            DvseError: the step cannot be opened (no such bundle).
        """

    def notes(self) -> dict[str, Any]:
        """Return what the journal should remember besides, for other commands; as JSON."""
        return {}

    @abstractmethod
    def quick_profile(self, device: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """Return what can be told of the numerics profile without loading anything heavy.

        Args:
            device: where `open` would compute.
            recorded: the profile of an earlier run; fields that cannot be told are left out.
        """

    def worker_modules(self, inputs: Sequence[str]) -> Sequence[str]:
        """Return what decode workers will import for these inputs, so that they do it early."""
        return ()

    @abstractmethod
    def open(self, device: str) -> DeviceWork:
        """Load weights and the rest.

        Raises:
            DvseError: it cannot be opened on this device.
        """
