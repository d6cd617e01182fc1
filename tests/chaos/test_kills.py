"""A job that is killed again and again ends with the same bytes as one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_step import FakeStep
from killed_job import clean, slow_pictures, start, state

from pipelines.engines.inline import InlineEngine
from pipelines.filtering.filters import read_filters
from pipelines.filtering.work import FilterWork
from pipelines.job.config import JobConfig
from pipelines.job.job import Job

SUPPORT = Path(__file__).parents[1] / "pipelines" / "support"


def finish(folder, output, *flags):
    process = start(folder, output, 2, *flags)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed


def kill_when(process, condition, deadline_s=30.0):
    deadline = time.monotonic() + deadline_s
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline, "the job does not get on"
        time.sleep(0.002)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def count_markers(output):
    return len(list((output / ".job" / "done").glob("*.json")))


def test_filters_remember_across_kills(tmp_path):
    folder = slow_pictures(tmp_path / "in", 64)
    for number in range(0, 64, 5):
        (folder / f"p{number:04d}.png").write_bytes(b"picture %d" % (number % 3))
    filters = tmp_path / "filters.toml"
    filters.write_text("[exact_duplicates]\n")
    out = tmp_path / "out"
    for workers in (2, 3):
        before = count_markers(out)
        process = start(folder, out, workers, f"filters={filters}")
        kill_when(process, lambda seen=before: count_markers(out) > seen)
    finish(folder, out, f"filters={filters}")
    config = JobConfig(inputs=[str(folder)], output=tmp_path / "whole", shard_size=8)
    work = FilterWork(read_filters(filters))
    summary = Job(config, FakeStep(), InlineEngine(), filters=work).run()
    assert summary.num_filtered >= 10
    assert state(out) == state(tmp_path / "whole")
    names = [path / "filtered.jsonl" for path in (out, tmp_path / "whole")]
    assert names[0].read_bytes() == names[1].read_bytes()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_run_again(tmp_path, rounds):
    rng = random.Random(rounds)
    folder = slow_pictures(tmp_path / "in", 24 * rounds)
    out = tmp_path / "out"
    for _ in range(rounds):
        before = count_markers(out)
        process = start(folder, out, rng.randint(1, 3))
        kill_when(process, lambda seen=before: count_markers(out) > seen)
        for shard in out.glob("shard-*.parquet"):
            assert shard.stat().st_size > 0
    finish(folder, out)
    assert state(out) == clean(folder, tmp_path / "clean")
    assert not list(out.rglob(".tmp-*"))


def test_killed_between_shard_and_marker(tmp_path):
    folder = slow_pictures(tmp_path / "in", 40)
    finish(folder, tmp_path / "out")
    wanted = state(tmp_path / "out")
    # What a kill between the two steps of a commit leaves: a shard whose marker is not there,
    # error lines without a marker, half-written temporary files.
    job = tmp_path / "out" / ".job"
    (job / "done" / "000002.json").unlink()
    (job / "done" / ".tmp-000003.json").write_text("{")
    (tmp_path / "out" / ".tmp-shard-000002.parquet").write_bytes(b"PAR1")
    (tmp_path / "out" / "errors.jsonl").write_text("half a li")
    finish(folder, tmp_path / "out")
    assert state(tmp_path / "out") == wanted
    assert not list((tmp_path / "out").rglob(".tmp-*"))


@pytest.mark.parametrize("victim", ["000002.json", "000002.jsonl", "shard-000002.parquet"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "gone"])
def test_damaged_files_of_a_finished_job_are_repaired(tmp_path, victim, damage):
    folder = slow_pictures(tmp_path / "in", 32)
    wanted = clean(folder, tmp_path / "out")
    (path,) = (tmp_path / "out").rglob(victim)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else b"\x00garbage")
    clean(folder, tmp_path / "out")
    assert state(tmp_path / "out") == wanted


def test_a_damaged_journal_is_refused_with_the_way_out(tmp_path):
    folder = slow_pictures(tmp_path / "in", 9)
    clean(folder, tmp_path / "out")
    (tmp_path / "out" / ".job" / "job.json").write_text("{")
    with pytest.raises(Exception, match="--overwrite to start again"):
        clean(folder, tmp_path / "out")


@pytest.mark.parametrize("share", [0.5, 0.999])
def test_a_full_disk_is_one_line_and_the_rerun_finishes(tmp_path, share):
    """RLIMIT_FSIZE makes the system refuse to write on, as a full disk does."""
    folder = slow_pictures(tmp_path / "in", 40)
    wanted = clean(folder, tmp_path / "clean")
    shards = (tmp_path / "clean").glob("shard-*.parquet")
    limit = int(share * max(shard.stat().st_size for shard in shards))
    code = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, SUPPORT / "fake_job.py", folder, tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == 1
    assert "StorageError" in run.stdout
    assert "Traceback" not in run.stderr
    finish(folder, tmp_path / "out")
    assert state(tmp_path / "out") == wanted


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no tmpfs can be mounted here")
    try:
        folder = slow_pictures(tmp_path / "in", 80)
        process = start(folder, disk / "out", 2)
        printed, _ = process.communicate(timeout=60)
        assert (process.returncode, "StorageError" in printed) == (1, True), printed
        assert "No space left on device" in printed
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        finish(folder, disk / "out")
        assert state(disk / "out") == clean(folder, tmp_path / "clean")
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def test_two_jobs_at_once_do_not_mix(tmp_path):
    folder = slow_pictures(tmp_path / "in", 60)
    first, second = (start(folder, tmp_path / "out", 1) for _ in range(2))
    printed = [p.communicate(timeout=60)[0] for p in (first, second)]
    codes = sorted([first.returncode, second.returncode])
    assert codes in ([0, 1], [0, 0]), printed
    assert codes == [0, 0] or any("another job is writing" in text for text in printed)
    assert state(tmp_path / "out") == clean(folder, tmp_path / "clean")


@pytest.mark.slow
def test_every_kind_of_trouble_at_once(tmp_path):
    folder = slow_pictures(tmp_path / "in", 150)
    for number, data in enumerate([b"CRASH", b"EXIT", b"WEIRD", b"POISON", b"HANG"] * 2):
        (folder / f"t{number:02d}.png").write_bytes(data)
    flag = tmp_path / "flag"
    (folder / "k.png").write_bytes(b"KILL once " + os.fsencode(str(flag)))
    from pipelines.engines.local import LocalEngine

    config = JobConfig(inputs=[str(folder)], output=tmp_path / "out", shard_size=16)
    engine = LocalEngine(num_workers=3, time_limit_s=1.5)
    summary = Job(config, FakeStep(), engine).run()
    assert summary.num_inputs == 161
    lines = (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    bad = [f"p{n:04d}.png" for n in range(150) if n % 17 == 5]
    assert ids == bad + [f"t{n:02d}.png" for n in range(10)]
