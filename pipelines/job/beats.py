"""Signs of life of the parts of a job, and who counts as lost.

A part writes a counter into a file of its own that goes up while it lives. An observer counts, on
its own clock, for how long *it* has seen a counter stand still; no two clocks have to agree, and
one that jumps does not matter, for a monotonic clock does not.
"""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Literal

from dvse.remote.remote_path import Location
from dvse.storage.atomic_file import write_atomically
from pipelines.job.part import Part

State = Literal["working", "done", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a part says of itself.

    Attributes:
        part: which, as `I/N`.
        owner: of its process, drawn anew for each.
        count: goes up while it lives.
        state: `done` with its share, or `stopped` before that.
    """

    part: str
    owner: str
    count: int = 0
    state: State = "working"


class Heart:
    """Writes the beats of a part from a thread of its own.

    Args:
        folder: of all beats.
        part: whose.
        every_s: seconds between two beats.

    Attributes:
        owner: of this process.
    """

    def __init__(self, folder: Location, part: Part, *, every_s: float) -> None:
        self._path = folder / f"{part_key(part)}.json"
        self.every_s = every_s
        self.owner = secrets.token_hex(8)
        self._beat = Beat(part=str(part), owner=self.owner)
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Beat while the context lasts; whoever leaves it before `say("done")` has stopped."""
        self.say("working")
        thread = threading.Thread(target=self._run, name="heart", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
            if self._beat.state != "done":
                with contextlib.suppress(OSError):  # the disk is full: others will count
                    self.say("stopped")

    def say(self, state: State) -> None:
        """Write a beat with this state."""
        with self._lock:
            self._beat = replace(self._beat, state=state, count=self._beat.count + 1)
            write_atomically(self._path, (json.dumps(asdict(self._beat)) + "\n").encode())

    def _run(self) -> None:
        while not self._ended.wait(self.every_s):
            with contextlib.suppress(OSError):
                self.say(self._beat.state)


class Watch:
    """Looks at the beats of other parts.

    Args:
        folder: of all beats.
        patience_s: seconds without a new beat after which a part is lost.
        clock: seconds that only ever go forward.
    """

    def __init__(
        self, folder: Location, *, patience_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._patience_s, self._clock = folder, patience_s, clock
        self._began = clock()
        self._seen: dict[str, tuple[Beat, float]] = {}

    def look(self) -> None:
        """Read all beats."""
        now = self._clock()
        for beat in beats(self._folder):
            before = self._seen.get(beat.part)
            if before is None or before[0] != beat:
                self._seen[beat.part] = beat, now

    def working(self) -> list[Part]:
        """Return the parts that are at work and were seen alive lately."""
        return [
            Part.parse(part)
            for part, (beat, since) in self._seen.items()
            if beat.state == "working" and not self._is_over(since)
        ]

    def is_missing(self, part: Part) -> bool:
        """Whether a part may still come: it has never been seen, and not for long."""
        return str(part) not in self._seen and not self._is_over(self._began)

    def lives(self, owner: str) -> bool:
        """Whether a process was seen alive lately, whatever it has done with its own share."""
        return any(
            beat.owner == owner and beat.state != "stopped" and not self._is_over(since)
            for beat, since in self._seen.values()
        )

    def _is_over(self, since: float) -> bool:
        return self._clock() - since >= self._patience_s


def beats(folder: Location) -> list[Beat]:
    """Return the last beat of every part that has ever begun here, by the number of parts."""
    found = []
    paths: list[Location] = sorted(folder.glob("*-of-*.json"), key=str)
    for path in paths:
        with contextlib.suppress(OSError, ValueError, TypeError):  # gone, or another version's
            found.append(Beat(**json.loads(path.read_bytes())))
    return found


def forget_other_counts(folder: Location, count: int) -> None:
    """Delete the beats of an earlier run with another number of parts."""
    for beat in beats(folder):
        part = Part.parse(beat.part)
        if part.count != count:
            (folder / f"{part_key(part)}.json").unlink(missing_ok=True)


def part_key(part: Part) -> str:
    """Return what files of a part are called.

    >>> part_key(Part(number=2, count=8))
    '00002-of-00008'
    """
    return f"{part.number:05d}-of-{part.count:05d}"
