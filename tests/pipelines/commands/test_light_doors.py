"""A command loads only what it uses: which heavy modules each of them may have imported."""

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines import cli

ROOT = Path(__file__).parents[3]
HEAVY = (
    "torch", "torch._dynamo", "torch.distributed.tensor", "torchvision", "torchaudio", "timm",
    "transformers", "tokenizers", "sentencepiece", "huggingface_hub", "sympy", "scipy", "sklearn",
    "datasets", "fastapi", "uvicorn", "jinja2", "PIL", "soundfile", "pyarrow", "numpy", "pandas",
)  # fmt: skip
READS = {"PIL", "soundfile", "numpy", "pyarrow"}
COMMANDS = [" ".join(command.words) for command in cli.COMMANDS]

# Runs a command and says what its process has imported.
PROGRAM = f"""
import json, logging, os, signal, sys
from pipelines.cli import main


def tell():
    print("loaded", json.dumps([m for m in {HEAVY!r} if m in sys.modules]), flush=True)


class Stop(logging.Handler):  # a server that is ready
    def emit(self, record):
        if record.getMessage().startswith("ready"):
            tell()
            os.kill(os.getpid(), signal.SIGTERM)


logging.getLogger("dvse.serve").addHandler(Stop())
if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except SystemExit as end:
        code = end.code
    tell()
    sys.exit(code)
"""


def loaded(*arguments: object) -> set[str]:
    """Return the heavy modules that the command's own process has imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode in (0, -signal.SIGTERM), done.stderr
    return set(json.loads(done.stdout.rpartition("loaded ")[2]))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / "a.png")
    soundfile.write(folder / "a.wav", 0.1 * rng.standard_normal(9_000), 8_000)
    (folder / "a.txt").write_text("hello")
    return {kind: folder / f"a.{kind}" for kind in ("png", "wav", "txt")}


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    """`dvse filter` shows the settings of all filters, whose files know arrays."""
    few = {"numpy", "pyarrow"} if command == "filter" else set()
    assert loaded(*command.split(), "--help") <= few


@pytest.mark.parametrize("kind", ["png", "wav", "txt"])
def test_one_file_in_one_process(files: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """Neither timm nor transformers, nor torch's compiler: the shipped encoders need none.

    Pillow is there for pictures alone.
    """
    found = loaded("tokenize", files[kind], "--output", tmp_path / "o", "--workers", 0, "--quiet")
    others = set() if kind == "png" else {"PIL"}
    assert found == (READS | {"torch", "sentencepiece"}) - others


@pytest.mark.parametrize("kind", ["png", "wav", "txt"])
def test_one_caption(files: dict[str, Path], kind: str) -> None:
    """The decoder needs torch alone: of transformers, its trainers and quantizers, nothing."""
    found = loaded("caption", files[kind])
    assert found <= READS | {"torch", "sentencepiece"} and "torch" in found
    assert ("PIL" in found) == (kind == "png")


def test_a_job_and_what_comes_after_it(files: dict[str, Path], tmp_path: Path) -> None:
    """The job's own process needs no torch; nor does one that finds all done, nor a look at it."""
    job = ("tokenize", *files.values(), "--output", tmp_path / "o", "--quiet")
    assert loaded(*job) <= READS
    assert loaded(*job) <= {"numpy", "pyarrow"}
    shard = tmp_path / "o" / "shard-000000.parquet"
    for looked_at in (tmp_path / "o", shard):
        assert loaded("inspect", looked_at) <= {"numpy", "pyarrow", "sentencepiece"}
    assert loaded("verify", tmp_path / "o", "--samples", 0) <= READS
    assert "torch" in loaded("verify", tmp_path / "o", "--samples", 1)
    (tmp_path / "filter.toml").write_text("[length]\nleast = 2\n")
    for light in (
        ("export", "megatron", tmp_path / "o", tmp_path / "m"),
        ("verify", tmp_path / "m", "--against", tmp_path / "o"),
        ("filter", tmp_path / "o", tmp_path / "f", "--filter", tmp_path / "filter.toml"),
    ):
        assert not loaded(*light) & {"torch", "transformers", "timm", "datasets"}, light
    caption = ("caption", files["png"], "--output", tmp_path / "c.jsonl", "--quiet")
    assert loaded(*caption) <= READS
    assert loaded(*caption) <= {"numpy", "pyarrow"}


def test_serve_until_it_is_ready() -> None:
    """What a server of `tiny` loads until it takes requests; a signal stops it then."""
    found = loaded("serve", "--port", 0)
    assert found <= READS | {"torch", "sentencepiece", "fastapi", "uvicorn", "jinja2"}
    assert "torch" in found


@pytest.mark.parametrize(("rate", "more"), [(8_000, set()), (16_000, {"torch", "torchaudio"})])
def test_decode_workers_need_no_torch_until_they_resample(rate: int, more: set[str]) -> None:
    """What a worker unpickles and runs, for every kind of input, in a process of its own.

    Samples of another rate go through torchaudio's filter bank: other arithmetic, other bits.
    """
    made = (
        "import pickle, sys, dvse\n"
        "t = dvse.load('tiny', threads=1)\n"
        "sys.stdout.buffer.write(pickle.dumps(t.preparer))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    preparer = subprocess.run(
        [sys.executable, "-c", made], capture_output=True, env=env, check=True
    ).stdout
    works = (
        "import pickle, sys, numpy as np\n"
        "import pipelines.engines.decode_worker\n"
        "preparer = pickle.loads(sys.stdin.buffer.read())\n"
        "from dvse.items import Audio, Image, Text\n"
        "row = [Text('a'), Image(np.zeros((8, 8, 3), np.uint8)),\n"
        f"       Audio(np.zeros(9000, np.float32), sample_rate_hz={rate})]\n"
        "assert {c.modality for c in preparer.chunks(row)} == {'text', 'image', 'audio'}\n"
        f"print([m for m in {HEAVY} if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", works], input=preparer, capture_output=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert set(ast.literal_eval(done.stdout.decode())) - READS == more
