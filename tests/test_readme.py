"""What the README says runs: its Python block, and every `dvse` line of its shell blocks."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import running, serve_command

from pipelines.tiny.samples import make_samples

ROOT = Path(__file__).parents[1]
SERVED = "http://127.0.0.1:8000"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    make_samples(folder / "demo" / "samples")
    return folder


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with running(serve_command("tiny"), folder / "server.log") as address:
        yield address


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code: str, folder: Path, request: pytest.FixtureRequest) -> None:
    if SERVED in code:
        code = code.replace(SERVED, request.getfixturevalue("server"))
    done = run([sys.executable, "-c", code], folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_shell_blocks_run(folder: Path) -> None:
    lines = [
        line
        for block in blocks("bash")
        for line in block.splitlines()
        if line.startswith("dvse ") and not line.startswith("dvse serve")  # `server` runs that
    ]
    assert len(lines) >= 5
    for line in lines:
        words = shlex.split(line, comments=True)
        done = run([sys.executable, "-m", "pipelines.cli", *words[1:]], folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    documents = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in set(re.findall(r"^make ([a-z-]+)", documents, flags=re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_named_files_exist() -> None:
    text = README + (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"`((?:dvse|model|pipelines|tests|notebooks)/[\w/.-]*)`", text)):
        assert (ROOT / name).exists(), name
