"""What a job writes down so that it can go on later: the files in its output directory.

    DIR/shard-000000.parquet …   the shards, one a partition
    DIR/errors.jsonl             a line for each input that failed
    DIR/filtered.jsonl           a line for each input that a filter refused, where there are any
    DIR/summary.json             the summary
    DIR/.job/job.json            bundle, inputs, options, numerics profile
    DIR/.job/listing.jsonl       the inputs, in the order of their numbers
    DIR/.job/seen.jsonl          what was looked at for that, so that a rerun looks at less
    DIR/.job/done/000000.json    done-marker of a partition, written after its shard is safe
    DIR/.job/errors/000000.jsonl lines of both kinds of a partition
    DIR/.job/names.jsonl         names that are not the inputs' own, where parts of a job are done
    DIR/.job/parts/              their locks and signs of life
    DIR/.job/claims/             who has taken over which partition of a lost part

Every file is there whole or not at all. A partition counts as done when its marker is there and
names a shard that is. `errors.jsonl` and `filtered.jsonl` are put together from the parts, so a
rerun can never repeat a line in them. How files come into being is another matter in a directory
(`directory_journal.py`) than in a store (`store_journal.py`).
"""

import contextlib
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dvse.errors import ConfigError, ResumeError, StorageError
from dvse.numerics import todays_names
from dvse.remote.remote_path import Location, RemotePath
from dvse.storage.atomic_file import temporary_name, write_atomically
from dvse.storage.shard import DONE_FOLDER, PATTERN
from pipelines.job.done_marker import (
    DoneMarker,
    ErrorLine,
    FilteredLine,
    Line,
    read_lines,
    read_marker,
    to_json_bytes,
)
from pipelines.job.occupation import Occupation

FORMAT = "dvse-job"
FORMAT_VERSION = 3
# Version 1 had no holes and no boundaries in its listing, 2 no filters, nor sizes of shards.
_READABLE = (1, 2, 3)


class Journal(ABC):
    """The files of one job; `open_journal` makes the one for a place.

    Args:
        output: where the job writes to.
        listings: folder of this machine for listings, which are written and read as streams.

    Attributes:
        found: for the listing of what is there now.
        seen_now: for what is looked at for it.
        new_listing: for the listing that `write_job` is to put in force.
        names: planned names of rows, where parts are done.
        beats, claims: folders of the parts' signs of life, and of what they have taken over.
        occupation: who may work there.
    """

    def __init__(self, output: Location, listings: Path, occupation: Occupation) -> None:
        self.output = output
        self._folder = output / ".job"
        self._listings = listings
        self.new_listing = listings / "listing.new.jsonl"
        self.found = listings / "found.jsonl"
        self.seen_now = listings / "seen.new.jsonl"
        self.names = self._folder / "names.jsonl"
        self.beats = self._folder / "parts"
        self.claims = self._folder / "claims"
        self.occupation = occupation

    @property
    def listing(self) -> Path:
        """The listing that is in force."""
        return self._listings / "listing.jsonl"

    @property
    def seen(self) -> Path:
        """What was looked at last time; it may not be there."""
        return self._listings / "seen.jsonl"

    def keep_seen(self) -> None:
        """Keep what was looked at now for the next time."""
        self._put(self.seen_now, self._folder / self.seen.name)

    @abstractmethod
    def clean(self) -> None:
        """Remove what killed writers left half done; only for whoever is alone here."""

    @abstractmethod
    def sweep(self, markers: Mapping[int, DoneMarker]) -> None:
        """Delete whole shards of finished partitions that their markers do not name."""

    @abstractmethod
    def erase(self) -> None:
        """Delete the job: its shards, error lines and journal, and nothing else."""

    @abstractmethod
    def write_job(self, document: Mapping[str, Any]) -> None:
        """Write `job.json`; the new listing becomes the listing first.

        Raises:
            ResumeError: another job was begun there at the same moment.
        """

    @abstractmethod
    def damage(self, marker: DoneMarker) -> str | None:
        """Say what is wrong with a finished partition, `None` where all is as recorded."""

    @abstractmethod
    def distrust(self, marker: DoneMarker) -> None:
        """See to it that the next run looks into a shard that was found corrupt."""

    @abstractmethod
    def commit(
        self,
        marker: DoneMarker,
        shard: memoryview,
        lines: Sequence[Line],
        *,
        before: DoneMarker | None = None,
    ) -> DoneMarker:
        """Make a partition durable: its shard, then the other inputs' lines, then its marker.

        Args:
            marker: of the partition; what it says of the files is filled in.
            shard: the bytes of the shard.
            lines: of its inputs that have no row, in input order.
            before: the marker whose place it takes, where the partition was done before.

        Returns:
            The marker that is in force: in a store perhaps that of a writer who was faster.
        """

    def exists(self) -> bool:
        """Whether a job was begun here."""
        return (self._folder / "job.json").exists()

    def orphans(self, markers: Mapping[int, DoneMarker]) -> list[str]:
        """Return the names of shards that no marker names."""
        named = {marker.file_name for marker in markers.values()}
        return sorted(p.name for p in self._shards() if p.name not in named)

    def refuse_strangers(self) -> None:
        """Refuse to write among shards that no job here has written.

        Raises:
            ConfigError: there are some.
        """
        found = next((path.name for path in self._shards()), None)
        if found is not None and not self.exists():
            raise ConfigError(
                f"--output {self.output}: {found} is there and belongs to no job; choose "
                "another directory, or pass --overwrite to delete the shards"
            )

    def read_job(self) -> dict[str, Any]:
        """Return what `job.json` says.

        Raises:
            ResumeError: it cannot be read, or another version wrote it.
        """
        try:
            document = json.loads((self._folder / "job.json").read_text(encoding="utf-8"))
        except StorageError:
            raise  # the store does not answer, which says nothing about the journal
        except (OSError, ValueError) as error:
            raise ResumeError(
                f"{self.output}: its journal cannot be read ({error}); pass --overwrite to start "
                "again"
            ) from None
        version = document.get("format_version")
        if document.get("format") != FORMAT or version not in _READABLE:
            raise ResumeError(
                f"{self.output}: another version of DVSE began this job; go on with that version, "
                "or pass --overwrite to start again"
            )
        if "profile" in document:
            document["profile"] = todays_names(document["profile"])
        return document

    def write_new_listing(self, lines: Iterable[str]) -> None:
        """Write the listing that `write_job` is to put in force."""
        with self.new_listing.open("w", encoding="ascii") as file:
            file.writelines(lines)

    def stream_lengths(self) -> dict[int, int]:
        """Return position in the listing → inputs, for streams read to their end."""
        try:
            found = json.loads((self._folder / "streams.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {int(position): length for position, length in found.items()}

    def forget_streams(self) -> None:
        """Forget how long streams were."""
        (self._folder / "streams.json").unlink(missing_ok=True)

    def write_stream_length(self, position: int, length: int) -> None:
        """Remember how long a stream was."""
        known = self.stream_lengths() | {position: length}
        path = self._folder / "streams.json"
        write_atomically(path, to_json_bytes({str(k): v for k, v in known.items()}))

    def shard(self, marker: DoneMarker) -> Location:
        """Return the place of a finished partition's shard."""
        return self.output / marker.shard_name

    def markers(self) -> dict[int, DoneMarker]:
        """Return the done-markers, by partition; unreadable ones are left out."""
        paths = sorted(self._markers(), key=lambda path: (len(path.name), path.name))
        return {m.partition: m for m in self._read_markers(paths) if m is not None}

    def forget(self, partition: int) -> None:
        """Take back the done-marker of a partition."""
        self._marker(partition).unlink(missing_ok=True)

    def done(self) -> set[int]:
        """Return the partitions that have their done-marker."""
        return {int(path.stem) for path in self._markers() if path.stem.isdecimal()}

    def is_done(self, partition: int) -> bool:
        """Whether a partition has its done-marker."""
        return self._marker(partition).exists()

    def errors(self, marker: DoneMarker) -> list[ErrorLine]:
        """Return the lines of the inputs of a finished partition that failed."""
        return [line for line in self.lines(marker) if isinstance(line, ErrorLine)]

    def filtered(self, marker: DoneMarker) -> list[FilteredLine]:
        """Return the lines of the inputs of a finished partition that a filter refused."""
        return [line for line in self.lines(marker) if isinstance(line, FilteredLine)]

    def lines(self, marker: DoneMarker) -> list[Line]:
        """Return the lines of the inputs of a finished partition that have no row."""
        if not marker.num_errors and not marker.num_filtered:
            return []
        try:
            return read_lines(self._error_part(marker).read_bytes())
        except FileNotFoundError:
            return []

    def assemble_lines(self, markers: Iterable[DoneMarker], pending: Sequence[Line]) -> None:
        """Write `errors.jsonl` and `filtered.jsonl` from the parts and what is pending.

        Where they are there as they were assembled last, of the same, nothing is read but stamps.
        """
        names = {ErrorLine: "errors.jsonl", FilteredLine: "filtered.jsonl"}
        markers = sorted(markers, key=lambda marker: marker.partition)
        state = self._folder / "assembled.json"
        of = _hash_of(markers, pending)
        if _read_json(state) == {"of": of, "files": self._stamps(names.values())}:
            return
        assembled = {kind: temporary_name(self._listings / name) for kind, name in names.items()}
        with contextlib.ExitStack() as stack:
            files = {k: stack.enter_context(path.open("wb")) for k, path in assembled.items()}
            for marker in markers:
                for line in self.lines(marker):
                    files[type(line)].write(line.to_json().encode("utf-8"))
            for line in sorted(pending, key=lambda line: line.index):
                files[type(line)].write(line.to_json().encode("utf-8"))
        for kind, name in names.items():
            if kind is FilteredLine and not assembled[kind].stat().st_size:
                assembled[kind].unlink()
                (self.output / name).unlink(missing_ok=True)
            else:
                self._put(assembled[kind], self.output / name)
        stamps = self._stamps(names.values())
        write_atomically(state, to_json_bytes({"of": of, "files": stamps}))

    def write_summary(self, document: Mapping[str, Any]) -> None:
        """Write `summary.json`."""
        write_atomically(self.output / "summary.json", to_json_bytes(document))

    def _stamps(self, names: Iterable[str]) -> dict[str, list[Any] | None]:
        """Size and time, or ETag, of files in the output; `None` for one that is not there."""
        return {name: _stamp(self.output / name) for name in names}

    @staticmethod
    def _job_document(document: Mapping[str, Any]) -> bytes:
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        return to_json_bytes(dict(document) | head)

    def _shards(self) -> Iterable[Location]:
        """The shards in the output, whether a marker names them or not."""
        return self.output.glob(PATTERN)

    def _markers(self) -> Iterable[Location]:
        """The done-markers, in any order."""
        return (self.output / DONE_FOLDER).glob("*.json")

    def _read_markers(self, paths: Sequence[Location]) -> Iterable[DoneMarker | None]:
        return map(read_marker, paths)

    @abstractmethod
    def _put(self, file: Path, place: Location) -> None:
        """Bring a file of this machine to its place in one step."""

    @abstractmethod
    def _error_part(self, marker: DoneMarker) -> Location: ...

    def _marker(self, partition: int) -> Location:
        return self.output / DONE_FOLDER / f"{partition:06d}.json"


def _hash_of(markers: Iterable[DoneMarker], pending: Iterable[Line]) -> str:
    """Of all that lines are put together from."""
    digest = hashlib.sha256()
    for marker in markers:
        if marker.num_errors or marker.num_filtered:
            digest.update(f"{marker.partition} {marker.errors_sha256}\n".encode())
    for line in pending:
        digest.update(line.to_json().encode("utf-8"))
    return digest.hexdigest()


def _stamp(place: Location) -> list[Any] | None:
    try:
        if isinstance(place, RemotePath):
            return [(found := place.info()).size, found.version]
        info = place.stat()
    except FileNotFoundError:
        return None
    return [info.st_size, info.st_mtime_ns]


def _read_json(place: Location) -> Any:
    """A small document, `None` where it is missing or broken."""
    try:
        return json.loads(place.read_bytes())
    except StorageError:
        raise
    except (OSError, ValueError):
        return None
