"""Taking over what a lost part has left: each partition by one of those that are idle.

A claim is a file that one process can create. Where its owner is lost as well, the claim of the
next generation can be created, again by one. Should a part that counted as lost go on after all,
a partition is made twice, with the same bytes.
"""

import json
from collections.abc import Collection, Iterator

from dvse.remote.remote_path import Location
from dvse.storage.atomic_file import create_atomically
from pipelines.job.beats import Watch
from pipelines.job.part import Part


class Claims:
    """Claims to single partitions.

    Args:
        folder: where they lie.
        owner: whoever claims.
        watch: says which other owners live.
    """

    def __init__(self, folder: Location, owner: str, watch: Watch) -> None:
        self._folder, self._owner, self._watch = folder, owner, watch
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, partition: int) -> bool:
        """Claim a partition; whether it is ours now."""
        generation = 0
        while not self._create(partition, generation):
            owner = self._owner_of(partition, generation)
            if owner == self._owner:
                return True
            self._watch.look()
            if self._watch.lives(owner):
                return False
            generation += 1
        return True

    def _create(self, partition: int, generation: int) -> bool:
        document = json.dumps({"owner": self._owner}).encode()
        return create_atomically(self._path(partition, generation), document)

    def _owner_of(self, partition: int, generation: int) -> str:
        try:
            return str(json.loads(self._path(partition, generation).read_bytes())["owner"])
        except FileNotFoundError:
            return ""  # the job is finished, and its claims are swept away

    def _path(self, partition: int, generation: int) -> Location:
        return self._folder / f"{partition:06d}.{generation}"


def left_behind(
    missing: Collection[int], part: Part, watch: Watch, num_partitions: int
) -> Iterator[int]:
    """Yield the missing partitions that no part is going to do, in order.

    Args:
        missing: of all.
        part: whoever asks.
        watch: of the others, which has just looked.
        num_partitions: of the job.
    """
    awaited = [other for other in part.others() if watch.is_missing(other)]
    others = [other for other in watch.working() if other != part]
    kept = {p for other in (*awaited, *others) for p in other.share(num_partitions)}
    yield from sorted(set(missing) - kept)
