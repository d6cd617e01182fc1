"""transformers' common model, training and parallel tests, run on the decoder; minutes each kind.

They come with transformers' source distribution, which `make test-all` fetches; what that leaves
out is in `transformers_helpers`. `DVSE_TRANSFORMERS_SOURCE` may name another source tree of the
installed version, such as a checkout of its tag, which has the tests of generation, too.
"""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
FETCHED = Path(sys.prefix) / "source" / f"transformers-{version('transformers')}"
SOURCE = os.environ.get("DVSE_TRANSFORMERS_SOURCE", str(FETCHED))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["DenseTest", "GateTest", "ExpertsTest", "GateAndExpertsTest"])
def test_the_suite_of_transformers(name):
    assert Path(SOURCE, "tests").is_dir(), (
        f"expected transformers' source in {SOURCE}: run make test-all, "
        "or sh tests/transformers_source.sh .venv/bin/python .venv/source"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", SOURCE, "--import-mode=importlib"]
    result = subprocess.run(
        [*command, f"{HERE / 'transformers_suite.py'}::{name}"],
        cwd=SOURCE,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([SOURCE, str(HERE), str(ROOT), *_extra()]),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )
    summary = f"transformers {version('transformers')}, {name}\n{result.stdout[-4000:]}"
    assert result.returncode == 0, summary + result.stderr[-2000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed and int(passed[1]) > 100, summary


def _extra():
    given = os.environ.get("PYTHONPATH")
    return [given] if given else []
