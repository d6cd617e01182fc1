"""How soon DVSE answers: import, `dvse --help`, `dvse.load("tiny")`, one file from the shell."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipelines.samples import make_samples
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
    with tempfile.TemporaryDirectory() as folder:
        yield from _one_file(Path(folder))


def _one_file(folder: Path) -> Iterator[Row]:
    """`dvse tokenize FILE` against `python -c "import torch"`, alternating."""
    samples = make_samples(folder / "samples")
    for name, suffix, bar in (("picture", ".png", "<= 1.6"), ("recording", ".wav", "<= 2.5")):
        file = next(path for path in samples if path.suffix == suffix)
        command = ["-m", "pipelines.cli", "tokenize", file, "--output", folder / "out", "--quiet"]
        ours, torch = [], []
        for _ in range(7):
            ours.append(_seconds([*command, "--overwrite"]))
            torch.append(_seconds(["-c", "import torch"]))
        yield Row(
            name=f"startup.one_{name}",
            ours=statistics.median(ours),
            peer=statistics.median(torch),
            ratio=statistics.median(a / b for a, b in zip(ours, torch, strict=True)),
            bar=bar,
            note="from the shell, tiny; peer: python -c 'import torch'",
        )


def _seconds(arguments: list) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, check=True)
    return time.perf_counter() - start


def _run(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])
