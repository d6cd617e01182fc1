"""The journal of a job that writes to an object store, which knows no rename and no lock.

    DIR/shard-000000-0123456789abcdef.parquet        the name holds the beginning of the hash
    DIR/.job/errors/000000-0123456789abcdef.jsonl    likewise; none where nothing failed
    DIR/.job/listing-0123456789abcdef.jsonl          likewise; `job.json` names the one in force
    DIR/.job/done/000000.json                        put on the condition that there is none

An object is written whole under a name that no other bytes can have, and then its marker by a
conditional put. So of two writers of a partition one gets its marker in, and the other takes that
for its own: one marker, one set of bytes. The shard of the slower one is an orphan, unless the
bytes are equal, and is deleted by its writer or, where that was killed, swept by a rerun. A shard
without a marker is left alone: its writer may be about to write one.
"""

import contextlib
import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from dvse.errors import MissingFileError, ResumeError, StorageError
from dvse.remote import object_store
from dvse.remote.remote_path import Location, RemotePath
from dvse.storage.atomic_file import create_atomically
from dvse.storage.file_hash import file_sha256
from dvse.storage.shard import DONE_FOLDER, PATTERN, shard_name, shard_number
from pipelines.job.done_marker import DoneMarker, Line, read_marker, written_lines
from pipelines.job.journal import Journal
from pipelines.job.store_occupation import StoreOccupation

_AT_ONCE = 16
_NO_LINES = hashlib.sha256(b"").hexdigest()


class StoreJournal(Journal):
    """The objects of one job. A shard is sound when it is there and as long as its marker says."""

    def __init__(self, output: RemotePath) -> None:
        scratch = tempfile.mkdtemp(prefix="dvse-job-")
        weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        super().__init__(output, Path(scratch), StoreOccupation(output))
        self._store = output
        self._sizes: dict[str, int] | None = None

    @property
    def listing(self) -> Path:
        """The listing that is in force, fetched when it is first asked for.

        Raises:
            ResumeError: it is not what its name says.
        """
        path = super().listing
        if not path.exists():
            name = self.read_job()["listing"]
            place = self._store / ".job" / name
            object_store.download(place.address, str(path))
            if _listing_name(path) != name:
                path.unlink()
                raise ResumeError(
                    f"{place}: its bytes are not those that its name was made of; run the same "
                    "command again, and where that does not help, pass --overwrite to start again"
                )
        return path

    @property
    def seen(self) -> Path:
        """What was looked at last time, fetched when it is asked for; it may not be there."""
        path = super().seen
        with contextlib.suppress(MissingFileError):
            object_store.download((self._store / ".job" / path.name).address, str(path))
        return path

    def clean(self) -> None:
        """Forget what was listed on this machine, and claims; nothing is half done in a store."""
        self.found.unlink(missing_ok=True)
        self.new_listing.unlink(missing_ok=True)
        for claim in self.claims.glob("*"):
            claim.unlink()

    def sweep(self, markers: Mapping[int, DoneMarker]) -> None:
        """Delete shards and error lines of finished partitions that their markers do not name."""
        for name in self.orphans(markers):
            if shard_number(name) in markers:
                (self._store / name).unlink()
        named = {self._error_part(marker).name for marker in markers.values()}
        for path in (self._store / ".job" / "errors").glob("*.jsonl"):
            number = path.name.partition("-")[0]
            if path.name not in named and number.isdecimal() and int(number) in markers:
                path.unlink()

    def erase(self) -> None:
        """Delete the job: its shards, error lines and journal, and nothing else."""
        (self._store / ".job" / "job.json").unlink()
        names = ("errors.jsonl", "filtered.jsonl", "summary.json")
        journal = [RemotePath(o.address) for o in object_store.tree(str(self._store / ".job"))]
        for path in (*self._store.glob(PATTERN), *(self._store / n for n in names), *journal):
            path.unlink()
        self._sizes = None

    def write_job(self, document: Mapping[str, Any]) -> None:
        """Write the new listing under a name of its own, then `job.json`, which names it.

        Raises:
            ResumeError: another job was begun there at the same moment.
        """
        before = self.read_job() if self.exists() else None
        document = dict(document)
        if self.new_listing.exists():
            name = _listing_name(self.new_listing)
            object_store.upload(str(self.new_listing), str(self._store / ".job" / name))
            self.new_listing.replace(super().listing)
            document["listing"] = name
        else:
            assert before is not None, "a job begins with a listing"
            document["listing"] = before["listing"]
        data = self._job_document(document)
        path = self._store / ".job" / "job.json"
        if before is not None:
            path.write_bytes(data)
            if before["listing"] != document["listing"]:
                (self._store / ".job" / before["listing"]).unlink()
        elif not create_atomically(path, data):
            raise ResumeError(
                f"--output {self.output}: another job was begun there at the same moment; run the "
                "same command again to work with it"
            )

    def damage(self, marker: DoneMarker) -> str | None:
        """Say what is wrong with a finished partition: objects that are gone or of another size."""
        if self._sizes is None:
            found = object_store.children(self._store.address)
            parts = object_store.children(str(self._store / ".job" / "errors"))
            self._sizes = {one.address: one.size for one in (*found, *parts)}
        size = self._sizes.get(str(self.shard(marker)))
        if size is None:
            return f"{marker.shard_name}: missing"
        if size != marker.num_bytes:
            return f"{marker.shard_name}: corrupt"
        part = self._error_part(marker)
        if marker.errors_sha256 != _NO_LINES and str(part) not in self._sizes:
            return f"lines of inputs without a row {part.name}: missing"
        return None

    def distrust(self, marker: DoneMarker) -> None:
        """Take its marker back: an object cannot be touched."""
        with contextlib.suppress(OSError):  # the bucket may be another's
            self.forget(marker.partition)

    def commit(
        self,
        marker: DoneMarker,
        shard: memoryview,
        lines: Sequence[Line],
        *,
        before: DoneMarker | None = None,
    ) -> DoneMarker:
        """Write shard and error lines, then the marker unless another writer was faster."""
        data = written_lines(lines)
        marker = replace(
            marker,
            errors_sha256=hashlib.sha256(data).hexdigest(),
            shard=shard_name(marker.partition, marker.sha256),
            num_bytes=len(shard),
        )
        object_store.write(str(self.shard(marker)), shard)
        if data:
            object_store.write(str(self._error_part(marker)), data)
        if before is not None:
            # Taken back at the last moment: killed here, the partition is done again whole.
            self.forget(marker.partition)
        place = self._marker(marker.partition)
        winner = marker if create_atomically(place, marker.to_json()) else read_marker(place)
        if winner is None:
            raise StorageError(
                f"{place}: another job has taken it back in the same moment; run the same command "
                "again"
            )
        for past in (marker, before):
            if past is not None:
                self._drop(past, winner)
        return winner

    def _drop(self, past: DoneMarker, winner: DoneMarker) -> None:
        """Delete the objects of a marker that is not in force."""
        if past.shard_name != winner.shard_name:
            (self._store / past.shard_name).unlink()
        if (part := self._error_part(past)) != self._error_part(winner):
            part.unlink()

    def _read_markers(self, paths: Sequence[Location]) -> Iterable[DoneMarker | None]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(read_marker, paths))

    def _put(self, file: Path, place: Location) -> None:
        object_store.upload(str(file), str(place))

    def _error_part(self, marker: DoneMarker) -> RemotePath:
        name = f"{marker.partition:06d}-{marker.errors_sha256[:16]}.jsonl"
        return self._store / ".job" / "errors" / name

    def _marker(self, partition: int) -> RemotePath:
        return self._store / DONE_FOLDER / f"{partition:06d}.json"


def _listing_name(listing: Path) -> str:
    return f"listing-{file_sha256(listing)[:16]}.jsonl"
