"""The threads of an encoder sleep where they wait, in whatever process."""

import os
import subprocess
import sys

import pytest

# Many small operators with pauses between: a spinning team burns processor time in the pauses.
PROGRAM = """
import time, torch  # before dvse: the environment's policy is read by now
from contextlib import nullcontext
from dvse.numerics import NumericsProfile
profile = NumericsProfile.current(threads=2)
x = torch.zeros(1 << 17)
def burnt(context):
    with context:
        x.add_(1)
        before = time.process_time()
        for _ in range(100):
            x.add_(1)
            time.sleep(0.005)
        return time.process_time() - before
torch.set_num_threads(2)
print(min(burnt(nullcontext()) for _ in range(3)), min(burnt(profile.pinned()) for _ in range(3)))
print(torch.get_num_threads())
"""


def run(**environment: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
        | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(word) for word in done.stdout.split()]


@pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="teams of GNU OpenMP"
)
def test_waiting_burns_little_whoever_calls():
    spinning, asleep, num_threads = run()
    assert asleep < spinning / 2
    assert num_threads == 2


def test_a_policy_that_is_chosen_stays():
    plain, pinned, _ = run(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="2000")
    assert pinned < 4 * plain + 0.1  # both asleep
