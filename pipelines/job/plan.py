"""The plan of a job: its inputs in order, numbered, and cut into partitions of `shard_size`.

The listing lies on disk and is read as a stream, so a million inputs cost no memory. Partition k
holds inputs k·shard_size … (k+1)·shard_size-1: its bounds depend on the inputs and on that size,
on nothing else.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path

from dvse.errors import InputError, JobError, ResumeError
from dvse.remote.patience import PATIENCE, is_passing
from dvse.remote.remote_path import Location
from pipelines.sources.contents import LeftOut
from pipelines.sources.entry import GAPS, Entry
from pipelines.sources.listing import Lister
from pipelines.sources.record import Failure, Record, utf8_name
from pipelines.sources.registry import SourceOptions, make_source
from pipelines.sources.sightings import Sightings
from pipelines.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class ListingSummary:
    """What a listing holds.

    Attributes:
        sha256: hash (hex) of the listing.
        num_known: inputs of all entries but streams.
        streams: positions of streams, which have to be read to their end to know.
        by_kind: inputs of each kind of entry.
        num_bytes: size of all files together.
        left_out: what was found and is not used.
    """

    sha256: str
    num_known: int
    streams: tuple[int, ...]
    by_kind: dict[str, int]
    num_bytes: int
    left_out: LeftOut

    def total(self, stream_lengths: Mapping[int, int]) -> int | None:
        """Return the number of inputs, `None` while a stream's length is not known."""
        if any(position not in stream_lengths for position in self.streams):
            return None
        return self.num_known + sum(stream_lengths[position] for position in self.streams)


def write_listing(
    path: Path,
    inputs: Sequence[str],
    options: SourceOptions,
    *,
    skip: Location | None = None,
    seen: Sightings | None = None,
    tick: Callable[[int], None] = lambda count: None,
) -> ListingSummary:
    """Find the inputs and write their listing.

    Args:
        path: where the listing goes.
        inputs: what the user typed.
        options: for the sources.
        skip: a directory that is never searched: the job's own output.
        seen: takes note of what is looked at; closed in the end.
        tick: called with the number of entries found so far, now and then.
    """
    digest = hashlib.sha256()
    streams: list[int] = []
    by_kind: Counter[str] = Counter()
    num_bytes = 0
    seen = seen or Sightings()
    lister = Lister(options, skip=skip, seen=seen)
    entries = lister.entries(inputs)
    number = 0
    with closing(seen), path.open("wb") as file:
        while some := list(islice(entries, 1000)):
            lines = "".join([f"{entry.to_json()}\n" for entry in some]).encode("ascii")
            digest.update(lines)
            file.write(lines)
            for entry in some:
                if entry.count is None:
                    streams.append(number)
                number += 1
                by_kind[entry.kind] += entry.count or 0
                num_bytes += entry.stamp.size if entry.stamp else 0
            tick(number)
        seen.finish(digest.hexdigest())
    return ListingSummary(
        sha256=digest.hexdigest(),
        num_known=by_kind.total(),
        streams=tuple(streams),
        by_kind=dict(by_kind),
        num_bytes=num_bytes,
        left_out=lister.left_out,
    )


def read_listing(path: Path) -> Iterator[Entry]:
    """Yield the entries of a listing in order."""
    with path.open(encoding="ascii") as file:
        for line in file:
            yield Entry.from_json(line)


class Plan:
    """The inputs of a listing, numbered from 0.

    Args:
        listing: the file that `write_listing` wrote.
        options: for the sources.
        stream_lengths: position in the listing → inputs, for streams that were read to their end
            before.
        on_stream_end: called with position and length when a stream is read to its end.
    """

    def __init__(
        self,
        listing: Path,
        options: SourceOptions,
        *,
        stream_lengths: Mapping[int, int] | None = None,
        on_stream_end: Callable[[int, int], None] = lambda position, length: None,
    ) -> None:
        self._listing = listing
        self._options = options
        self._lengths = dict(stream_lengths or {})
        self._on_stream_end = on_stream_end
        self._sources: dict[str, Source] = {}

    def records(
        self, ranges: Iterable[tuple[int, int | None]] = ((0, None),)
    ) -> Iterator[tuple[int, Record | None]]:
        """Yield (number, record) of the inputs in some half-open ranges, in one pass.

        The record is `None` where no input has the number (any longer).

        Args:
            ranges: in rising order; an end of `None` means to the last input.

        Raises:
            JobError: a stream broke off.
            ResumeError: a stream is longer or shorter than when it was read before.
        """
        pending = iter(ranges)
        wanted = next(pending, None)
        first = 0
        for position, entry in enumerate(read_listing(self._listing)):
            count = self._lengths.get(position) if entry.count is None else entry.count
            end = None if count is None else first + count
            number = first
            records: Iterator[Record | None] | None = None
            while wanted is not None and (end is None or wanted[0] < end):
                start, stop = max(first, wanted[0]), wanted[1]
                if records is not None and self._is_read_through(entry):
                    # What lies between is read sooner than all before it once more.
                    number += sum(1 for _ in islice(records, start - number))
                if records is None or start != number:
                    # A container is gone on with where the ranges lie side by side.
                    records, number = self._exactly(entry, start - first, count), start
                for record in records:
                    yield number, record
                    number += 1
                    if number == stop:
                        break
                if number == stop:
                    wanted = next(pending, None)
                    continue
                if end is None:
                    end = number
                    self._on_stream_end(position, end - first)
                break
            if wanted is None:
                return
            assert end is not None
            first = end

    def ids(self) -> Iterator[tuple[int, str | None]]:
        """Yield (number, id) of all inputs, with `None` where no input has the number.

        Reads no media where the source can do without. Streams have to have been read before.

        Raises:
            JobError: a stream that nobody has read to its end.
        """
        first = 0
        for position, entry in enumerate(read_listing(self._listing)):
            count = self._lengths.get(position) if entry.count is None else entry.count
            if count is None:
                raise JobError(f"{entry.path}: nobody has read this stream to its end yet")
            if entry.kind in GAPS:
                yield from zip(range(first, first + count), repeat(None))
            else:
                yield from enumerate(self._exact_ids(entry, count), start=first)
            first += count

    def _exact_ids(self, entry: Entry, count: int) -> Iterator[str]:
        """As many ids as the entry promised, those of `_exactly`."""
        given = 0
        try:
            source, first, end = self._source(entry.kind), entry.first, entry.first + count
            for id in PATIENCE.items(lambda num: islice(source.ids(entry), first + num, end)):
                yield id
                given += 1
        except Exception as error:
            if is_passing(error):
                raise
            # What cannot be read any more is named as `_exactly` names it.
        yield from (_lost_id(entry, entry.first + number) for number in range(given, count))

    def _exactly(self, entry: Entry, start: int, count: int | None) -> Iterator[Record | None]:
        """As many records as the entry promised, whatever has happened to it since."""
        if entry.kind in GAPS:
            yield from repeat(None, (count or 0) - start)
            return
        given, is_longer = start, False
        problem: Exception | None = None
        try:
            source, first = self._source(entry.kind), entry.first + start
            for record in PATIENCE.items(lambda num: source.records(entry, first + num)):
                if count is not None and given >= count:
                    is_longer = entry.count is None
                    break
                yield record
                given += 1
        except Exception as error:  # any library may raise anything on a damaged container
            problem = error
        if entry.count is None:
            if problem is not None:
                raise JobError(
                    f"{entry.path}: the stream broke off at input {given} ({problem}); run the "
                    "same command again to go on"
                )
            if count not in (None, given) or is_longer:
                now = "more" if is_longer else f"{given:,}"
                raise ResumeError(
                    f"{entry.path}: the stream held {count:,} inputs when it was read before and "
                    f"holds {now} now; use another --output, or pass --overwrite to start again"
                )
            return
        while count is not None and given < count:
            shrunk = InputError("it holds fewer inputs than when it was counted")
            yield _lost(entry, entry.first + given, problem or shrunk)
            given += 1

    def _is_read_through(self, entry: Entry) -> bool:
        return entry.kind not in GAPS and self._source(entry.kind).is_read_through

    def _source(self, kind: str) -> Source:
        if kind not in self._sources:
            self._sources[kind] = make_source(kind, self._options)
        return self._sources[kind]


def _lost(entry: Entry, number: int, error: Exception) -> Record:
    return Record(
        id=_lost_id(entry, number),
        source=f"{utf8_name(entry.path)}#{number}",
        failure=Failure.of("list", error),
    )


def _lost_id(entry: Entry, number: int) -> str:
    return f"{utf8_name(entry.name)}#{number}"
