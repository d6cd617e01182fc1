"""transformers' common model, generation, training and parallel tests, where its source is there.

Point `DVSE_TRANSFORMERS_SOURCE` at a source tree of the installed version (a checkout of its tag,
with `parameterized` installed); nothing of it is copied here. About five minutes.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = os.environ.get("DVSE_TRANSFORMERS_SOURCE", "")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not SOURCE, reason="DVSE_TRANSFORMERS_SOURCE names no transformers source tree")
@pytest.mark.parametrize("name", ["DenseTest", "GateTest", "ExpertsTest", "GateAndExpertsTest"])
def test_the_suite_of_transformers(name):
    pytest.importorskip("parameterized")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", SOURCE, "--import-mode=importlib"]
    result = subprocess.run(
        [*command, f"{Path(__file__).with_name('transformers_suite.py')}::{name}"],
        cwd=SOURCE,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([SOURCE, str(ROOT), *_extra()]),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )
    summary = f"transformers {version('transformers')}, {name}\n{result.stdout[-4000:]}"
    assert result.returncode == 0, summary + result.stderr[-2000:]
    assert " passed" in result.stdout


def _extra():
    given = os.environ.get("PYTHONPATH")
    return [given] if given else []
