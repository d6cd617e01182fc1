"""Kills and faults while inputs come, go and change: the end is that of a job without trouble."""

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from fake_step import FakeStep

from dvse.storage.shard import read_shard
from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job

SUPPORT = Path(__file__).parents[1] / "pipelines" / "support"


def start(folder, output, *flags, workers=2):
    return subprocess.Popen(
        [sys.executable, SUPPORT / "fake_job.py", folder, output, str(workers), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
    )


def finish(folder, output, *flags):
    process = start(folder, output, *flags)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed


def files(folder, names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.png").write_bytes(b"SLEEP 0.005 %s" % name.encode())


def tar(path, numbers):
    with tarfile.open(path, "w") as archive:
        for number in numbers:
            data = b"SLEEP 0.005 tar %d" % number
            info = tarfile.TarInfo(f"{path.stem}-{number}.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def contents(output):
    rows = [r for p in sorted(output.glob("*.parquet")) for r in read_shard(p).to_pylist()]
    assert len({r["id"] for r in rows}) == len(rows)
    return sorted((r["id"], r["sha256"], tuple(r["ids"])) for r in rows)


def shards(output):
    return {p.name: p.read_bytes() for p in sorted(output.glob("shard-*.parquet"))}


def clean(folder, output):
    Job(
        JobConfig(inputs=[str(folder)], output=output, shard_size=8), FakeStep(), InlineEngine()
    ).run()
    return contents(output)


def kill_at_random(process, rng, longest_s):
    time.sleep(rng.uniform(0, longest_s))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_while_it_grows(tmp_path, rounds):
    """Each round adds files and samples and is killed; old shards are the same bytes at the end."""
    rng = random.Random(rounds)
    folder, out = tmp_path / "in", tmp_path / "out"
    files(folder, [f"a{n:03d}" for n in range(30)])
    tar(folder / "t.tar", range(10))
    began = time.monotonic()
    finish(folder, out)
    longest_s = 1.2 * (time.monotonic() - began)
    before = shards(out)
    for number in range(rounds):
        files(folder, [f"{rng.choice('AbZ')}{number:02d}-{n}" for n in range(rng.randint(1, 20))])
        tar(folder / "t.tar", range(10 + 3 * (number + 1)))
        kill_at_random(start(folder, out, "append"), rng, longest_s)
    finish(folder, out, "append")
    assert {name: shards(out)[name] for name in before} == before
    assert contents(out) == clean(folder, tmp_path / "clean")
    finish(folder, out)
    assert not list(out.rglob(".tmp-*"))


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_while_everything_changes(tmp_path, rounds):
    """Growth, shrinkage, other bytes, files that go, a container that fails once and comes back."""
    rng = random.Random(rounds)
    folder, out = tmp_path / "in", tmp_path / "out"
    files(folder, [f"a{n:03d}" for n in range(30)])
    (folder / "b.tar").write_bytes(b"no tar at all, yet")
    tar(folder / "t.tar", range(20))
    began = time.monotonic()
    finish(folder, out)
    longest_s = 1.2 * (time.monotonic() - began)
    tar(folder / "b.tar", range(50))
    allowed = ("append", "redo_changed", "retry_errors")
    for number in range(rounds):
        there = sorted(folder.glob("*.png"))
        rng.choice(there).unlink()
        rng.choice(there[:5]).write_bytes(b"round %d" % number)
        os.utime(folder / "b.tar", (number + 1, number + 1))
        tar(folder / "t.tar", range(rng.randint(5, 40)))
        kill_at_random(start(folder, out, *allowed), rng, longest_s)
    finish(folder, out, *allowed)
    assert contents(out) == clean(folder, tmp_path / "clean")
    assert (out / "errors.jsonl").read_text() == ""
    finish(folder, out)


def test_workers_whose_disk_fails_now_and_then_lose_nothing(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    files(folder, [f"a{n:03d}" for n in range(40)])
    began = time.monotonic()
    finish(folder, out, "flaky")
    # A third of the files failed once or twice, and each pause is at least 0.2 s.
    assert time.monotonic() - began > 40 / 3 * 0.2 / 2
    assert (out / "errors.jsonl").read_text() == ""
    assert contents(out) == clean(folder, tmp_path / "clean")
