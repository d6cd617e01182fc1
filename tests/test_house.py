"""The house rules: lint, layers, and nothing in the tree that does not belong there."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

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


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_circle(package: str) -> None:
    """Counts imports inside functions and those for type checkers: a module knows what it names."""
    graph = grimp.build_graph(package, cache_dir=None)
    imports = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_no_file_is_long() -> None:
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in sources()}
    assert [f"{p}: {n} lines" for p, n in lengths.items() if n > 400] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_is_long(package: str) -> None:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 60:
                    found.append(f"{path}: {node.name} has {length} lines")
    assert found == []


def test_every_folder_says_in_one_line_what_it_is_for() -> None:
    for folder in sorted({path.parent for path in sources()}):
        if "bundles" in folder.parts:
            continue  # the code in a bundle is what transformers looks for
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
        first, *rest = (docstring or "").splitlines()
        assert first.endswith(".") and len(first) > 20 and (not rest or not rest[0]), folder


def test_no_docstring_only_points_elsewhere() -> None:
    nodes = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            says = (ast.get_docstring(node) or "") if isinstance(node, nodes) else ""
            assert re.match(r"See (`|the module)", says) is None, f"{path}: {node.name}: {says}"


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
