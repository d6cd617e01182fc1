"""Libraries in environments of their own: `make readers` puts them into `.venv/readers/NAME`.

`DVSE_READERS` names another folder. A test is skipped where its library is not there.
"""

import os
import subprocess
from pathlib import Path

import pytest

READERS = Path(os.environ.get("DVSE_READERS", Path(__file__).parents[3] / ".venv" / "readers"))


def run_in(name, script, *arguments):
    """Run a script with the Python of an environment; return what it prints."""
    python = READERS / name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"the environment {name} is not there; make readers installs it")
    done = subprocess.run(
        [python, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=850,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
