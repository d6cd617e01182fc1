"""Parts of a job that are killed, lost, started twice: the end is that of one machine."""

import json
import os
import random
import signal
import time

import pytest
from killed_job import clean, slow_pictures, state
from killed_job import start as start_job

from dvse.storage.shard import read_shard
from pipelines.job.beats import beats
from pipelines.job.open_journal import open_journal


def make_folder(folder, count):
    """Pictures that take their time, and two tables whose rows have the same names."""
    slow_pictures(folder, count)
    for name in ("x", "y"):
        lines = [json.dumps({"id": f"{n:03d}", "text": f"{name} {n}"}) for n in range(12)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def start(folder, output, *flags, workers=1):
    return start_job(folder, output, workers, *flags)


def finish(*processes):
    for process in processes:
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0, printed


def kill(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for(condition, deadline_s=60.0):
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "the job does not get on"
        time.sleep(0.005)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_parts_killed_at_random_moments_and_run_again(tmp_path, rounds):
    """Another number of parts each time; now and then all of them begin at the same moment."""
    rng = random.Random(rounds)
    folder, out = make_folder(tmp_path / "in", 30 * rounds + 40), tmp_path / "out"
    for _ in range(rounds):
        count = rng.randint(2, 3)
        parts = [start(folder, out, f"part={n}/{count}") for n in range(1, count + 1)]
        # From the first start of an interpreter to the middle of the work.
        time.sleep(rng.uniform(0, 4))
        for part in rng.sample(parts, count):
            kill(part)
        for shard in out.glob("shard-*.parquet"):
            read_shard(shard)
    finish(start(folder, out, "part=1/2"), start(folder, out, "part=2/2"))
    assert state(out) == clean(folder, tmp_path / "clean")
    assert not list(out.rglob(".tmp-*"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_lost_part_leaves_is_done_by_one_that_is_idle(tmp_path, how):
    folder, out = make_folder(tmp_path / "in", 150), tmp_path / "out"
    lost = start(folder, out, "part=2/2")
    wait_for(lambda: open_journal(out).done())
    os.killpg(lost.pid, how) if how == signal.SIGKILL else lost.terminate()
    lost.communicate()
    assert len(open_journal(out).done()) < 11
    printed, _ = start(folder, out, "part=1/2", "take_over=3").communicate(timeout=120)
    assert "not made yet" not in printed
    assert state(out) == clean(folder, tmp_path / "clean")


def test_two_idle_parts_share_what_a_lost_one_leaves(tmp_path):
    folder, out = make_folder(tmp_path / "in", 200), tmp_path / "out"
    lost = start(folder, out, "part=3/3")
    wait_for(lambda: open_journal(out).done())
    kill(lost)
    finish(*(start(folder, out, f"part={n}/3", "take_over=3") for n in (1, 2)))
    assert state(out) == clean(folder, tmp_path / "clean")
    assert not list(out.rglob(".tmp-*"))


def test_a_part_that_was_only_asleep_does_no_harm(tmp_path):
    """It counts as lost, another does its share, and then it goes on."""
    folder, out = make_folder(tmp_path / "in", 120), tmp_path / "out"
    asleep = start(folder, out, "part=2/2")
    wait_for(lambda: open_journal(out).done())
    os.killpg(asleep.pid, signal.SIGSTOP)
    try:
        taker = start(folder, out, "part=1/2", "take_over=3")
        wait_for(lambda: len(open_journal(out).done()) == 18)
    finally:
        os.killpg(asleep.pid, signal.SIGCONT)
    finish(asleep, taker)
    assert state(out) == clean(folder, tmp_path / "clean")
    assert {beat.state for beat in beats(open_journal(out).beats)} == {"done"}


def test_killed_while_it_makes_the_plan_the_next_one_makes_it(tmp_path):
    folder, out = make_folder(tmp_path / "in", 40), tmp_path / "out"
    for moment in (lambda: (out / ".job").exists(), lambda: (out / ".job" / "turn").exists()):
        part = start(folder, out, "part=1/2")
        wait_for(moment)
        kill(part)
    finish(start(folder, out, "part=1/2"), start(folder, out, "part=2/2"))
    assert state(out) == clean(folder, tmp_path / "clean")
