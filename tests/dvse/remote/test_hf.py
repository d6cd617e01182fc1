"""What DVSE asks of the Hub behind `hf://`, asked by the Hub's own client of a Hub on loopback.

The client reads the Hub's address when it is imported, so it is asked in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from fake_hub import fake_hub

ROOT = Path(__file__).parents[3]
SUPPORT = ROOT / "tests" / "pipelines" / "support"
FILES = {
    "README.md": b"---\n---\n",
    "train/b/2.png": b"picture 2",
    "train/a/1.png": b"picture 1",
    "train/a/1.txt": b"a caption",
    "train/notes.txt": b"a text",
}
_ASK = """
import json
from dvse.errors import MissingFileError
from dvse.remote import object_store as store
root = "hf://datasets/me/pictures"
try:
    store.stat(root + "/none.png")
except MissingFileError as error:
    missing = str(error)
print(json.dumps({
    "children": [(o.address, o.size, o.is_folder) for o in store.children(root + "/train")],
    "tree": [o.address for o in store.tree(root)],
    "versions": len({o.version for o in store.tree(root)}),
    "whole": store.read(root + "/train/a/1.png").decode(),
    "range": store.read(root + "/train/a/1.png", 3, 7).decode(),
    "size": store.stat(root + "/train/b/2.png").size,
    "missing": missing,
}))
"""


def in_process(address, *command):
    environment = os.environ | {"HF_ENDPOINT": address, "NO_PROXY": "127.0.0.1", "HF_TOKEN": ""}
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_files_of_a_repository_are_listed_and_read():
    with fake_hub() as (hub, address):
        hub.files["me/pictures"] = FILES
        found = json.loads(in_process(address, "-c", _ASK))
    root = "hf://datasets/me/pictures"
    assert found == {
        "children": [
            [f"{root}/train/a", 0, True],
            [f"{root}/train/b", 0, True],
            [f"{root}/train/notes.txt", 6, False],
        ],
        "tree": [f"{root}/{name}" for name in sorted(FILES)],
        "versions": len(FILES),
        "whole": "picture 1",
        "range": "ture",
        "size": 9,
        "missing": f"{root}/none.png: no such object",
    }


def test_a_job_over_a_folder_of_a_repository(tmp_path):
    """The same rows as from the same files on a disk."""
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    job = str(SUPPORT / "fake_job.py")
    with fake_hub() as (hub, address):
        hub.files["me/pictures"] = FILES
        folder, out = "hf://datasets/me/pictures/train", str(tmp_path / "out")
        assert "4 of them now" in in_process(address, job, folder, out)
        assert "0 of them now" in in_process(address, job, folder, out)
        in_process(address, job, str(tmp_path / "train"), str(tmp_path / "local"))
    assert rows(tmp_path / "out") == rows(tmp_path / "local")


def rows(output):
    from dvse.storage.shard import find_shards, read_shard

    tables = [read_shard(path).drop_columns(["source"]) for path in find_shards(output)]
    return [row for table in tables for row in table.to_pylist()]
