"""Stages one after the other, and two processes against one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dvse
from dvse.errors import ConfigError
from model import DvseForCausalLM
from pipelines.cli import main
from pipelines.training.decoder.recipe import DecoderTraining, read_recipe
from pipelines.training.decoder.start import new_ids

ROOT = Path(__file__).parents[4]
RECIPE = """
[model]
preset = "tiny"
hidden_size = 64
intermediate_size = 128
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
[training]
max_steps = 3
batch_size = {batch}
length = 64
learning_rate = 1e-2
warmup_steps = 0
sample_every = 1000
log_every = 1
codebook_rows = false
{more}
"""
STAGES = """
[adapters]
rank = 4
[[stages]]
learns = "new rows"
[[stages]]
learns = "adapters"
[[stages]]
learns = "all"
learning_rate = 1e-3
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged")
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Count to {n}."},
                {"role": "assistant", "content": " ".join(map(str, range(1, n + 1)))},
            ]
        }
        for n in range(1, 17)
    ] * 3
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["tokenize", str(folder / "chat.jsonl"), "--workers", "0", "--quiet"]
    assert main([*words, "--output", str(folder / "tokens")]) == 0
    return folder / "tokens"


def words(folder, shards, output, *, batch=2, more=""):
    recipe = folder / f"{output}.toml"
    recipe.write_text(RECIPE.format(batch=batch, more=more))
    given = ["--data", str(shards), "--recipe", str(recipe), "--threads", "1"]
    return ["train", "decoder", *given, "--output", str(folder / output)]


def test_new_rows_then_adapters_then_all(shards, tmp_path, monkeypatch, capsys):
    pytest.importorskip("peft")
    asked = words(tmp_path, shards, "model", more=STAGES)
    from transformers import Trainer

    step = Trainer.training_step
    monkeypatch.setattr(Trainer, "training_step", _stopped_in_the_last_stage(step))
    assert main(asked) == 130
    monkeypatch.undo()
    run = tmp_path / "model.run"
    first, second = (
        DvseForCausalLM.from_pretrained(run / f"stage-{n}" / "model").state_dict() for n in (1, 2)
    )
    start = DvseForCausalLM.from_pretrained(run / "stage-2" / "base").state_dict()
    assert all(torch.equal(first[name], start[name]) for name in first)
    added = new_ids(dvse.load("tiny").vocabulary)
    rows = "model.embed_tokens.weight"
    changed = {name for name in first if not torch.equal(first[name], second[name])}
    assert rows not in changed or torch.equal(
        first[rows][: added.start], second[rows][: added.start]
    )
    assert any("q_proj" in name for name in changed)
    assert not any("norm" in name for name in changed)
    before = (run / "stage-1" / "log.jsonl").stat().st_mtime_ns
    assert main([*asked, "--resume"]) == 0
    assert (run / "stage-1" / "log.jsonl").stat().st_mtime_ns == before, "not done again"
    third = DvseForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    assert {name for name in third if not torch.equal(second[name], third[name])} == set(third)


def _stopped_in_the_last_stage(step):
    def training_step(self, model, *args, **kwargs):
        if "stage-3" in self.args.output_dir:
            raise KeyboardInterrupt
        return step(self, model, *args, **kwargs)

    return training_step


def test_recipes_that_cannot_be(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('[[stages]]\nlearns = "adapters"\n')
    with pytest.raises(ConfigError, match=r"expected a table \[adapters\]"):
        read_recipe(path)
    path.write_text("[[stages]]\nmax_step = 3\n")
    with pytest.raises(ConfigError, match=r"unknown setting stages\[0\]\.max_step"):
        read_recipe(path)
    with pytest.raises(ConfigError, match="sharding = 'fsdp' trains all weights"):
        DecoderTraining(sharding="fsdp", learns="new rows")


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_two_processes_as_one(shards, tmp_path, sharding):
    assert main(words(tmp_path, shards, "one", batch=4)) == 0
    asked = words(tmp_path, shards, "two", batch=2, more=f'sharding = "{sharding}"')
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "pipelines.cli", *asked]
    paths = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, env={**os.environ, **paths}, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    losses = [
        [
            line["loss"]
            for line in map(json.loads, (tmp_path / f"{n}.run/log.jsonl").read_text().splitlines())
            if "loss" in line
        ]
        for n in ("one", "two")
    ]
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    one, two = (DvseForCausalLM.from_pretrained(tmp_path / n).state_dict() for n in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-3, rtol=0)
