"""Each export read back by its own library and compared id by id.

Libraries whose pins collide with DVSE's have an environment of their own: `make readers` puts them
into `.venv/readers/NAME`, or `DVSE_READERS` names the folder. Skipped where one is not there.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from token_folder import MODALITIES, write_folder

from pipelines.export.export import export
from pipelines.export.formats import FORMATS, find_format
from pipelines.export.settings import ExportSettings

HERE = Path(__file__).parent
READERS = Path(os.environ.get("DVSE_READERS", HERE.parents[2] / ".venv" / "readers"))
IN_MAIN_ENVIRONMENT = {"datasets": "datasets", "litdata": "litdata"}


def interpreter(name: str) -> str:
    own = READERS / name / "bin" / "python"
    if own.exists():
        return str(own)
    if name in IN_MAIN_ENVIRONMENT and importlib.util.find_spec(IN_MAIN_ENVIRONMENT[name]):
        return sys.executable
    pytest.skip(f"the library that reads {name} is not installed; make readers installs it")


@pytest.mark.slow
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("size", [9_600, 70_000])
@pytest.mark.parametrize("name", FORMATS)
def test_its_own_library_reads_every_id(name, size, masks, tmp_path):
    python = interpreter(name)
    rows = write_folder(tmp_path / "t", masks=masks, size=size)
    settings = ExportSettings(tokens=tmp_path / "t", output=tmp_path / "o", piece_bytes=1200)
    export(find_format(name), settings)
    done = subprocess.run(
        [python, str(HERE / "readers" / f"read_{name}.py"), str(tmp_path / "o"), "train"],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == len(rows)
    for row, read in zip(rows, found, strict=True):
        assert read["ids"] == row["ids"].tolist()
        everything = [True] * len(row["ids"])
        expected = everything if row["loss_mask"] is None else row["loss_mask"].tolist()
        mask = everything if read["mask"] is None else [bool(value) for value in read["mask"]]
        assert mask == expected
        if "id" in read:
            assert (read["id"], read["modality"]) == (row["id"], row["modality"])
            assert (read["text"] or None) == row["text"]
        if "mode" in read:
            assert MODALITIES[read["mode"]] == row["modality"]
