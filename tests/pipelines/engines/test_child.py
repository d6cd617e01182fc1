"""How a process ended that never began, and what one is told to look at."""

import os
import signal
import subprocess
import sys

import pytest

from pipelines.engines.child import Child

_SCRIPT = """
import sys
from pipelines.cli import main

sys.exit(main(["tokenize", "a.jsonl", "--bundle", "tiny", "--output", "out"]))
"""


def _leave(connection, code):
    os._exit(code)


def _die(connection, number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("target", "value", "said"),
    [
        (_leave, 3, "it exited with code 3; what it wrote stands above; a script of your own"),
        (_leave, 0, "it exited with code 0; is there enough memory?"),
        (_die, signal.SIGKILL, "it was ended by SIGKILL; is there enough memory?"),
    ],
)
def test_it_says_what_to_look_at(target, value, said):
    assert Child(target, (value,)).why_it_never_began().startswith(said)


def test_a_script_that_starts_a_job_while_it_is_read(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "hello"}\n')
    (tmp_path / "script.py").write_text(_SCRIPT)
    folder = os.fspath(tmp_path)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert 'a script of your own needs if __name__ == "__main__":' in done.stderr
    assert done.returncode == 1
