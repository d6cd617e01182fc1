"""How rows are called: unique in a job, whoever does which partition.

A whole job claims names in the order of its inputs. Parts cannot wait for each other, so the first
to come plans the names: it reads all ids once and writes down those that become another name.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dvse.remote import object_store
from dvse.remote.remote_path import Location, RemotePath
from dvse.storage.atomic_file import sync_directory, temporary_name
from dvse.storage.file_hash import file_sha256
from dvse.storage.shard import read_shard
from pipelines.job.done_marker import DoneMarker, ErrorLine
from pipelines.job.journal import Journal
from pipelines.job.plan import Plan
from pipelines.job.unique_names import UniqueNames


class Names(ABC):
    """Gives an input the name of its row."""

    @abstractmethod
    def name(self, number: int, id: str) -> str:
        """Return the name of the input with this number, which calls itself `id`."""


class ClaimedNames(Names):
    """Names in the order in which they are asked for: the second `a` is `a#2`.

    Args:
        taken: names of rows that are there.
        again: error lines of inputs that are tried again, which keep their names.
    """

    def __init__(self, taken: Iterable[str], again: Iterable[ErrorLine]) -> None:
        self._unique = UniqueNames()
        self._unique.add(taken)
        self._given = {line.index: line.id for line in again}

    def name(self, number: int, id: str) -> str:
        """Return the name that it had, or the first free one."""
        given = self._given.get(number, "")
        # Another input than the one that failed here: a sample behind a broken end.
        return given if is_name_of(given, id) else self._unique.claim(id)


class PlannedNames(Names):
    """Names as they were planned.

    Args:
        path: written by `plan_names`.
    """

    def __init__(self, path: Location) -> None:
        with path.open("rb") as file:
            next(file)
            self._names: dict[int, str] = dict(map(json.loads, file))

    def name(self, number: int, id: str) -> str:
        """Return the planned name, the id itself where none was planned."""
        planned = self._names.get(number, "")
        return planned if is_name_of(planned, id) else id


def is_name_of(name: str, id: str) -> bool:
    """Whether a name was made of this id.

    >>> is_name_of("a#2", "a"), is_name_of("ab", "a")
    (True, False)
    """
    return name == id or name.startswith(f"{id}#")


def taken_names(journal: Journal, markers: Mapping[int, DoneMarker]) -> Iterator[str]:
    """Yield the names in finished partitions: each was free when it was given, so it is theirs."""
    for _, marker in sorted(markers.items()):
        shard = read_shard(journal.shard(marker), columns=["id"])
        yield from shard.column("id").to_pylist()
        yield from (line.id for line in journal.lines(marker))


def are_planned(path: Location, listing: Path) -> bool:
    """Whether names were planned for this listing as it is."""
    try:
        with path.open("rb") as file:
            return json.loads(next(file)) == file_sha256(listing)
    except (OSError, ValueError, StopIteration):
        return False


def plan_names(
    journal: Journal, plan: Plan, *, markers: Mapping[int, DoneMarker], size: int
) -> None:
    """Write the names that are not the inputs' own, in the order of their numbers.

    Args:
        journal: of the job.
        plan: the inputs of its listing.
        markers: of finished partitions, whose rows keep the names that they have.
        size: numbers a partition.
    """
    unique = UniqueNames()
    unique.add(taken_names(journal, markers))
    held: tuple[int, dict[int, str]] = (-1, {})
    with _written(journal.names) as write:
        write(file_sha256(journal.listing))
        for number, id in plan.ids():
            if id is None:
                continue
            partition = number // size
            if partition not in markers:
                name = unique.claim(id)
            else:
                if held[0] != partition:
                    held = partition, _names_of(journal, markers[partition])
                name = held[1].get(number, id)
            if name != id:
                write([number, name])


def _names_of(journal: Journal, marker: DoneMarker) -> dict[int, str]:
    lines = {line.index: line.id for line in journal.lines(marker)}
    ids = read_shard(journal.shard(marker), columns=["id"]).column("id").to_pylist()
    return lines | dict(zip(marker.row_numbers(lines), ids, strict=True))


@contextmanager
def _written(path: Location) -> Iterator[Callable[[object], None]]:
    if isinstance(path, RemotePath):
        with TemporaryDirectory() as folder:
            here = Path(folder) / path.name
            with _written(here) as write:
                yield write
            object_store.upload(str(here), path.address)
        return
    temporary = temporary_name(path)
    try:
        with temporary.open("w", encoding="utf-8") as file:
            yield lambda value: print(json.dumps(value), file=file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)
