"""Servers as processes of their own: ours, and `transformers serve`."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Address:
    host: str
    port: int
    pid: int
    ready_s: tuple[float, float] = (0.0, 0.0)


@contextmanager
def serving(folder: Path | str) -> Iterator[Address]:
    """Run a server of a model, and yield where it is."""
    command = [sys.executable, "-m", "pipelines.cli", "serve", "--model", str(folder)]
    command += ["--port", "0", "--served-model-name", "m", "--max-queue", "1000"]
    with _running(command, r"ready in ([\d.]+) s after ([\d.]+) s.* at http://([\d.]+):(\d+)") as (
        match,
        pid,
    ):
        yield Address(
            host=match[3], port=int(match[4]), pid=pid, ready_s=(float(match[1]), float(match[2]))
        )


@contextmanager
def peer_serving(folder: Path) -> Iterator[Address]:
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    command += ["--continuous-batching", "--device", "cpu", "--host", "127.0.0.1", "--port", "8765"]
    command += ["--cb-num-blocks", "256", "--cb-max-batch-tokens", "512"]
    with _running(command, r"(Uvicorn running|startup complete)") as (_, pid):
        yield Address(host="127.0.0.1", port=8765, pid=pid)


@contextmanager
def _running(command: list[str], pattern: str) -> Iterator[tuple[re.Match[str], int]]:
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log"
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment
            )
        try:
            deadline = time.monotonic() + 120
            while not (match := re.search(pattern, log.read_text(errors="replace"))):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[:5]}: {log.read_text()[-1500:]}")
                time.sleep(0.05)
            yield match, process.pid
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
