"""Two processes with half of the heads each give the answers of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SUPPORT = Path(__file__).parents[2] / "support"
ROOT = Path(__file__).parents[4]


@pytest.mark.slow
def test_two_processes_answer_as_one(make_engine, tmp_path):
    handle = make_engine(endless=False, chunk=16)
    asked = [list(range(2, 2 + n)) for n in (3, 40, 17, 40)]
    expected = [handle.answer(ids, 10).ids for ids in asked]
    looks = handle.batcher.attention(list(range(2, 42)), 30, (1, 20)).result(60).sum(1)
    handle.model.set_attn_implementation("sdpa")
    handle.model.save_pretrained(tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(SUPPORT / "split_server_worker.py"), str(tmp_path)]
    paths = os.pathsep.join([str(SUPPORT), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if "RESULT" in line]
    assert line.split("RESULT ")[1] == str(expected)
    (line,) = [line for line in done.stdout.splitlines() if "LOOKS" in line]
    assert json.loads(line.split("LOOKS ")[1]) == pytest.approx(looks.tolist(), rel=1e-4)


def test_heads_that_do_not_divide_are_refused(make_engine, tmp_path, monkeypatch):
    from dvse.errors import ConfigError
    from pipelines.server.batching.tensor_parallel import load_split

    handle = make_engine(start=False)
    handle.model.config.save_pretrained(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="2 key/value heads"):
        load_split(str(tmp_path), num_processes=3, dtype=torch.float32)
    with pytest.raises(ConfigError, match="3 were started"):
        load_split(str(tmp_path), num_processes=2, dtype=torch.float32)
