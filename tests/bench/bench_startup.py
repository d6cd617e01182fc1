"""How soon DVSE answers: import, `dvse --help`, and `dvse.load("tiny")` after the libraries."""

import statistics
import subprocess
import sys
from collections.abc import Iterator

from timing import Row

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
        seconds = statistics.median(_run(code) for _ in range(7))
        yield Row(name=f"startup.{name}", ours=seconds, bar=bar)


def _run(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])
