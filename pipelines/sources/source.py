"""The contract of a source: what an entry holds, and its inputs themselves in order."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from pipelines.sources.contents import Contents
from pipelines.sources.entry import Entry
from pipelines.sources.record import Record


class Source(ABC):
    """Reads entries of one kind. Holds options, no open files.

    Attributes:
        is_read_through: whether a later input is reached only by reading all those before it.
    """

    is_read_through = False

    @abstractmethod
    def contents(self, entry: Entry) -> Contents:
        """Return how many inputs the entry holds, and what else has to be known of them.

        Raises:
            Exception: the container cannot be opened; the entry then counts as one failed input.
        """

    @abstractmethod
    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the inputs from number `start` on, always in the same order.

        Exactly `num_inputs` of them; one that cannot be read is a record with a `failure`.
        """

    def ids(self, entry: Entry) -> Iterator[str]:
        """Yield the ids of all inputs, those of `records`; where it can, without reading media."""
        return (record.id for record in self.records(entry))
