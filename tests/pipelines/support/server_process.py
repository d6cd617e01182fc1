"""A real `dvse serve` for tests: a process of its own on a free loopback port."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 180,
) -> Iterator[str]:
    """Start a server, yield its address once the log says that it is ready, stop it at the end."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=env
        )
    try:
        yield _address(process, log, time.monotonic() + timeout_s)
        process.terminate()
        ended = process.wait(30)
        assert ended in (0, -signal.SIGTERM), f"ended with {ended}:\n{log.read_text()[-3000:]}"
        assert "Traceback" not in log.read_text(errors="replace"), log.read_text()[-3000:]
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve_command(model: Path | str, *arguments: str) -> list[str]:
    """The command line of a server on a free port."""
    command = [sys.executable, "-m", "pipelines.cli", "serve", "--model", str(model)]
    return [*command, "--port", "0", *arguments]


def _address(process: subprocess.Popen, log: Path, deadline: float) -> str:
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"endpoints at (http://[\d.]+:\d+)", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(
        f"the server did not get ready:\n{log.read_text(errors='replace')[-3000:]}"
    )
