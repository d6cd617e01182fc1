"""A source of whose media something was declared on the command line."""

from collections.abc import Iterator
from dataclasses import replace

from dvse.audio.pcm_format import is_headerless
from pipelines.sources.contents import Contents
from pipelines.sources.entry import Entry
from pipelines.sources.record import ItemRef, Record
from pipelines.sources.source import Source


class DeclaredSource(Source):
    """Another source: its records say what `.pcm` and `.raw` are, and how large a picture may be.

    Args:
        source: the other.
        pcm: format of raw samples, as `dvse.Audio` takes it; `None` where none was declared.
        max_pixels: of a picture; `None` for the bundle's limit.
    """

    def __init__(self, source: Source, *, pcm: str | None, max_pixels: int | None) -> None:
        self._source, self._pcm, self._max_pixels = source, pcm, max_pixels
        self.is_read_through = source.is_read_through

    def contents(self, entry: Entry) -> Contents:
        """Return what the source says."""
        return self._source.contents(entry)

    def records(self, entry: Entry, start: int = 0) -> Iterator[Record]:
        """Yield the records of the source."""
        for record in self._source.records(entry, start):
            yield replace(record, refs=tuple(map(self._declared, record.refs)))

    def ids(self, entry: Entry) -> Iterator[str]:
        """Yield the ids of the source."""
        yield from self._source.ids(entry)

    def _declared(self, ref: ItemRef) -> ItemRef:
        if ref.kind == "image" and self._max_pixels is not None:
            return replace(ref, max_pixels=self._max_pixels)
        if ref.kind == "audio" and self._pcm is not None and is_headerless(ref.place.name):
            return replace(ref, pcm=self._pcm)
        return ref
