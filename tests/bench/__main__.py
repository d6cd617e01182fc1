"""Runs the benchmarks: `python tests/bench [--only NAME] [--output bench.json]`.

Each `bench_*.py` beside this file has `rows()`, a generator of `timing.Row`s, and, where it takes
long, `CASES`: its pieces by name, each such a generator. `--only job` runs a whole file, `--only
job.speech` one piece of it. A row carries both sides of a comparison measured in one run, and the
bar it should reach. Rows are written as they come, so a run that is cut off keeps what it has.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from timing import Row

HERE = Path(__file__).parent
LIBRARIES = ("torch", "torchaudio", "timm", "transformers", "numpy", "scikit-learn", "pyarrow")


def main() -> int:
    """Run the chosen benchmarks, print each row, write them all."""
    files = sorted(p.stem.removeprefix("bench_") for p in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help=f"one of {', '.join(files)}, or a piece of one, such as job.speech; may be repeated",
    )
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    args = parser.parse_args()
    for name in args.only or []:
        if name.partition(".")[0] not in files:
            parser.error(f"--only: expected one of {', '.join(files)}, received {name!r}")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    rows: list[dict[str, Any]] = []
    failed = False
    for name in args.only or files:
        try:
            for row in _rows(name):
                rows.append(asdict(row) | _circumstances(row.note))
                print(_line(rows[-1]), flush=True)
                args.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        except Exception as error:  # one broken benchmark must not cost the others
            failed = True
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    return int(failed)


def _rows(name: str) -> Iterator[Row]:
    file, _, piece = name.partition(".")
    module = importlib.import_module(f"bench_{file}")
    if not piece:
        return module.rows()
    cases = getattr(module, "CASES", {})
    if piece not in cases:
        known = ", ".join(cases) or "none"
        raise ValueError(f"expected one of its pieces ({known}), received {piece!r}")
    return cases[piece]()


def _circumstances(note: str) -> dict[str, Any]:
    import torch

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    cuda = torch.cuda.is_available()
    return {
        "commit": commit,
        "device": torch.cuda.get_device_name() if cuda and "cuda" in note else _processor(),
        "threads": torch.get_num_threads(),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    import torch

    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['name']:44} {row['ours']:.4g} {row['unit']}"]
    if row["peer"] is not None:
        parts.append(f"peer {row['peer']:.4g}")
    if row["ratio"] is not None:
        parts.append(f"ratio {row['ratio']:.3f}")
    if row["bar"] is not None:
        parts.append(f"bar {row['bar']}")
    return "  ".join([*parts, row["note"]])


if __name__ == "__main__":
    sys.exit(main())
