"""How soon DVSE answers: import, `--help`, `dvse.load`, one file and a server from the shell.

Python keeps compiled modules, as it does where DVSE is installed: a shell that forbids it
(`PYTHONDONTWRITEBYTECODE`) would let ours be compiled in every process, and torch's never.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timing import Row

from pipelines.tiny.samples import make_samples

_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
_LOAD = """
import time, torch, torchaudio, timm, transformers
from transformers import Wav2Vec2Model
import dvse, dvse.tokenizer, dvse.image.tokenizer, dvse.audio.tokenizer
start = time.perf_counter(); dvse.load("tiny"); print(time.perf_counter() - start)
"""
_FIRST = """
import time; start = time.perf_counter()
import dvse
t = dvse.load("tiny"); t([dvse.Text("hello")]); print(time.perf_counter() - start)
"""
_IMPORT = "import time; s = time.perf_counter(); import dvse; print(time.perf_counter() - s)"
_HELP = """
import subprocess, sys, time
s = time.perf_counter()
subprocess.run([sys.executable, "-m", "pipelines.cli", "--help"], stdout=subprocess.DEVNULL)
print(time.perf_counter() - s)
"""


def rows() -> Iterator[Row]:
    """Yield start-up times, medians of seven fresh processes."""
    for name, code, bar in (
        ("import_dvse", _IMPORT, "<= 0.5"),
        ("help", _HELP, "<= 0.5"),
        ("load_tiny_after_imports", _LOAD, "<= 2"),
        ("first_token_from_nothing", _FIRST, None),
    ):
        _run(code)
        seconds = statistics.median(_run(code) for _ in range(7))
        yield Row(name=f"startup.{name}", ours=seconds, bar=bar)
    with tempfile.TemporaryDirectory() as folder:
        yield from _commands(Path(folder))


def _commands(folder: Path) -> Iterator[Row]:
    """One file from the shell, and a server until it is ready, against `import torch`."""
    samples = make_samples(folder / "samples")
    picture, recording = (
        next(path for path in samples if path.suffix == suffix) for suffix in (".png", ".wav")
    )
    written = ["--output", folder / "out", "--quiet", "--overwrite"]
    for name, words, bar in (
        ("tokenize_picture", ["tokenize", picture, *written], "<= 1.3"),
        ("tokenize_recording", ["tokenize", recording, *written], "<= 1.3"),
        ("caption_picture", ["caption", picture], "<= 1.3"),
        ("caption_recording", ["caption", recording], "<= 1.3"),
        ("verify_hashes", ["verify", folder / "out", "--samples", 0], None),
        ("serve_ready", ["serve", "--port", 0], None),
    ):
        _command(words)
        pairs = [(_command(words), _finished(["-c", "import torch"])) for _ in range(7)]
        spent = [statistics.median(pair[n].processor_s for pair in pairs) for n in (0, 1)]
        yield Row(
            name=f"startup.{name}",
            ours=statistics.median(ours.wall_s for ours, _ in pairs),
            peer=statistics.median(peer.wall_s for _, peer in pairs),
            ratio=statistics.median(ours.wall_s / peer.wall_s for ours, peer in pairs),
            bar=bar,
            note="from the shell, tiny; peer: python -c 'import torch'; "
            f"processor {spent[0]:.2f} s and {spent[1]:.2f} s",
        )


@dataclass(frozen=True, kw_only=True)
class _Spent:
    """Seconds of a process, by the clock and of processors."""

    wall_s: float
    processor_s: float


def _command(words: list) -> _Spent:
    command = ["-m", "pipelines.cli", *words]
    return _until_ready(command) if words[0] == "serve" else _finished(command)


def _finished(arguments: list) -> _Spent:
    """Run a process to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with {process.returncode}")
    return _Spent(wall_s=time.perf_counter() - start, processor_s=usage.ru_utime + usage.ru_stime)


def _until_ready(arguments: list) -> _Spent:
    """Run a server until its log says that it is ready, then stop it."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=_ENVIRONMENT,
    )
    assert process.stderr is not None
    if not any("] ready in" in line for line in process.stderr):
        raise RuntimeError(f"{arguments} did not get ready")
    spent = _Spent(wall_s=time.perf_counter() - start, processor_s=_processor_s(process.pid))
    process.terminate()
    process.communicate()
    return spent


def _processor_s(pid: int) -> float:
    """Seconds that a running process has used, from Linux's /proc/PID/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _run(code: str) -> float:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=_ENVIRONMENT)
    return float(done.stdout.split()[-1])
