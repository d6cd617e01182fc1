"""What a job costs beside its encoders, from a thousand files to ten million.

Tiny files in folders of a thousand, encoders that do nothing, shards of a thousand, one
process: listing, partitions, names and shards are what is left. Each run is a process of its own;
seconds are those of the processor, which other work on the machine changes little.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_job import _in_folder
from timing import Row

HERE = Path(__file__).parent
_LINKS = 60_000
"""Names a file may have on ext4 is 65,000; ten million files of their own would fill the disk."""


def rows() -> Iterator[Row]:
    """Yield all rows up to a million files; about half an hour."""
    for name, case in CASES.items():
        if name != "ten_million":
            yield from case()


def _files(folder: Path, *, count: int, are_links: bool = False) -> Iterator[Row]:
    _make(folder / "in", count, are_links=are_links)
    runs = {name: _run(folder, *flags) for name, flags in _RUNS.items()}
    assert runs["first"]["new_inputs"] == count
    assert runs["again"]["new_inputs"] == runs["trusting folders"]["new_inputs"] == 0
    kind = "links to few files" if are_links else "files"
    bars = {"again": "<= 10", "trusting folders": "<= 10"} if count == 1_000_000 else {}
    for name, run in runs.items():
        yield Row(
            name=f"sizes.{count}.{name.replace(' ', '_')}",
            ours=run["cpu_s"],
            ratio=run["cpu_s"] if name in bars else None,
            bar=bars.get(name),
            note=f"processor seconds, {count:,} {kind}; by the clock {run['wall_s']:.1f} s, of "
            f"these {run['planning_s']:.1f} until the first input; {run['peak_mb']:.0f} MB; "
            f"listing {run['listing_mb']:.1f} MB",
        )
    planning = runs["first"]["planning_s"]
    yield Row(
        name=f"sizes.{count}.planning",
        ours=planning,
        ratio=planning if count == 1_000_000 else None,
        bar="<= 60" if count == 1_000_000 else None,
        note="finding the files, by the clock",
    )


_RUNS = {"first": (), "again": (), "trusting folders": ("trust_folders",)}


def _make(folder: Path, count: int, *, are_links: bool) -> None:
    linked = Path()
    for number in range(count):
        inner = folder / f"{number // 1000:05d}"
        path = inner / f"{number:08d}.png"
        if number % 1000 == 0:
            inner.mkdir(parents=True)
        if are_links and number % _LINKS:
            os.link(linked, path)
        else:
            path.write_bytes(b"p %d" % number)
            linked = path


def _run(folder: Path, *flags: str) -> dict[str, Any]:
    """Run the job in a process of its own and return what it says of itself."""
    command = [sys.executable, str(HERE / "sized_job.py"), str(folder), *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


CASES = {
    "thousand": _in_folder(functools.partial(_files, count=1_000)),
    "ten_thousand": _in_folder(functools.partial(_files, count=10_000)),
    "hundred_thousand": _in_folder(functools.partial(_files, count=100_000)),
    "million": _in_folder(functools.partial(_files, count=1_000_000)),
    "ten_million": _in_folder(functools.partial(_files, count=10_000_000, are_links=True)),
}
