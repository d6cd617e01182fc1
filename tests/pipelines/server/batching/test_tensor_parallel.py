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


def test_quantized_weights_are_not_split(make_engine, tmp_path, monkeypatch):
    from dvse.errors import ConfigError
    from model import WeightOnlyConfig
    from pipelines.server.batching.tensor_parallel import load_split

    config = make_engine(start=False).model.config
    config.quantization_config = WeightOnlyConfig(bits=8)
    config.save_pretrained(tmp_path)  # and no weights: it is refused before they are looked for
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="quantized, and these are not split"):
        load_split(str(tmp_path), num_processes=2, dtype=torch.float32)


def test_what_cannot_be_split_is_one_sentence_before_any_process(random_model, monkeypatch, capsys):
    from pipelines.cli import main
    from pipelines.server import memory

    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("torchrun was started"))
    words = ["serve", "--model", str(random_model), "--port", "0", "--tensor-parallel"]
    assert main([*words, "7"]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "--tensor-parallel 7: expected a number that divides" in line
    monkeypatch.setattr(memory, "free_bytes", lambda *_, **__: (1000, 0))
    assert main([*words, "2"]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "for weights a process" in line
    assert main(["serve", "--model", "nowhere/at-all-42", "--tensor-parallel", "2"]) != 0
    assert "Traceback" not in capsys.readouterr().err
