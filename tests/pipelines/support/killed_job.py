"""Jobs in processes of their own, to be killed, and what they leave."""

import subprocess
import sys
from pathlib import Path

from fake_step import FakeStep

from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job

SUPPORT = Path(__file__).parent


def slow_pictures(folder, count):
    """Make a folder of pictures that take their time; some are bad."""
    folder.mkdir()
    for number in range(count):
        data = b"SLEEP 0.01 %d" % number if number % 3 else b"picture %d" % number
        (folder / f"p{number:04d}.png").write_bytes(b"BAD" if number % 17 == 5 else data)
    return folder


def state(output):
    """Return the bytes of all shards and of the error lines."""
    shards = {p.name: p.read_bytes() for p in sorted(output.glob("*.parquet"))}
    return shards, (output / "errors.jsonl").read_bytes()


def clean(folder, output):
    """Return the state that a job without a break leaves."""
    config = JobConfig(inputs=[str(folder)], output=output, shard_size=8)
    Job(config, FakeStep(), InlineEngine()).run()
    return state(output)


def start(folder, output, workers, *flags):
    """Start a job in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, SUPPORT / "fake_job.py", folder, output, str(workers), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=SUPPORT.parents[2],
    )
