"""The processes of a job, decoders and encoder, killed one by one at random moments.

A partition that loses its process twice ends the job, and so does an encoder that dies while it
loads; run again, the job goes on. The end is always that of a job whose processes live.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from killed_job import clean, slow_pictures, start, state

_SAID_OF = {"encoder": b"OMP_WAIT_POLICY=PASSIVE", "worker": b"MKL_NUM_THREADS=1"}
"""What stands in the environment of each kind alone."""
_ENDS = ("for the second time", "is there enough memory?")


def processes(job, kind):
    """Process ids of the children of a job that are of a kind."""
    found = []
    try:
        children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    except OSError:
        return []
    for child in children:
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        if b"spawn_main" in command and _SAID_OF[kind] in variables:
            found.append(int(child))
    return found


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def strike(job, kind, rng, most):
    """Kill processes of a kind at random moments while the job lives; return how many."""
    num_killed = 0
    while job.poll() is None and num_killed < most:
        time.sleep(rng.expovariate(2))
        if found := processes(job, kind):
            os.kill(rng.choice(found), signal.SIGKILL)
            num_killed += 1
    return num_killed


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["worker", "encoder"])
@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_processes_killed_at_random_moments(tmp_path, kind, count):
    rng = random.Random(f"{kind} {count}")
    folder, out = slow_pictures(tmp_path / "in", 40 + 24 * count), tmp_path / "out"
    left = count
    while left:
        job = start(folder, out, 2)
        killed = strike(job, kind, rng, left)
        left -= killed
        printed, _ = job.communicate(timeout=120)
        assert job.returncode == 0 or any(reason in printed for reason in _ENDS), printed
        if not killed:
            # Done before all were killed: something is left to do again.
            lost = rng.choice(sorted((out / ".job" / "done").glob("*.json")))
            lost.unlink()
    printed, _ = (job := start(folder, out, 2)).communicate(timeout=120)
    assert job.returncode == 0, printed
    assert state(out) == clean(folder, tmp_path / "clean")
    assert not list(out.rglob(".tmp-*"))
