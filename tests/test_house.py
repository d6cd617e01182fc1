"""The house rules: lint, layers, and nothing in the tree that does not belong there."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("dvse", "model", "pipelines")


def sources() -> list[Path]:
    return [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


def test_ruff_is_content() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_layers_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_every_module_says_what_it_is_for() -> None:
    for path in sources():
        assert path.read_text(encoding="utf-8").lstrip().startswith(('"""', 'r"""')), path


def test_no_pickles_and_no_weights_outside_bundles() -> None:
    for path in ROOT.rglob("*"):
        if any(part in (".venv", ".git", "runs", "demo") for part in path.parts):
            continue
        assert path.suffix not in (".pt", ".pth", ".pkl", ".ckpt"), path
        if path.suffix == ".safetensors":
            assert "bundles" in path.parts, path


def test_no_absolute_paths_of_a_machine() -> None:
    wrong = re.compile(r"/(?:home|root|work|Users)/\w|https?://\S*/simple\b")
    for path in [*sources(), *ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]:
        found = wrong.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path}: {found and found.group()}"
