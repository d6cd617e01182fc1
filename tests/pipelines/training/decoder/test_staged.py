"""Stages one after the other, and two processes against one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import dvse
from dvse.errors import ConfigError
from model import DvseForCausalLM
from pipelines.answering.model_directory import load_model, save_model
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
{shape}
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
EXPERTS = "n_routed_experts = 4\nnum_experts_per_tok = 2\nmoe_intermediate_size = 32"
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


def words(folder, shards, output, *, batch=2, more="", shape=""):
    recipe = folder / f"{output}.toml"
    recipe.write_text(RECIPE.format(batch=batch, more=more, shape=shape))
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
    with pytest.raises(ConfigError, match="sharding = 'fsdp' cuts the embedding"):
        DecoderTraining(sharding="fsdp", learns="new rows")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_signal_stops_two_processes_without_a_traceback_and_they_go_on(shards, tmp_path):
    more = "save_every = 1\naccumulation = 2"
    asked = [sys.executable, "-m", "pipelines.cli", *words(tmp_path, shards, "model", more=more)]
    asked += ["--processes", "2"]
    (tmp_path / "model.toml").write_text(
        (tmp_path / "model.toml").read_text().replace("max_steps = 3", "max_steps = 40")
    )
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(asked, stdout=file, stderr=subprocess.STDOUT, env=alone())
    checkpoints = tmp_path / "model.run" / "checkpoints"
    while not list(checkpoints.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.1)
    process.terminate()
    assert process.wait(120) == -signal.SIGTERM, log.read_text()[-3000:]
    assert "Traceback" not in log.read_text() and "ERROR" not in log.read_text()
    assert not (tmp_path / "model").exists()
    again = subprocess.run([*asked, "--resume"], capture_output=True, text=True, env=alone())
    assert again.returncode == 0, again.stderr[-3000:]
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert "trained for 40 steps" in again.stdout


def test_what_no_process_could_train_is_one_sentence_before_any_is_started(
    shards, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("processes were started"))
    asked = words(tmp_path, shards, "model", shape="n_routed_experts = 4\nnum_experts_per_tok = 0")
    assert main([*asked, "--processes", "2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the recipe's model" in line
    assert main([*asked, "--processes", "0"]) == 2
    assert "--processes: expected at least 1" in capsys.readouterr().err


def alone():
    """The environment of a process that computes with one thread, on this tree."""
    paths = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **paths}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("shape", "sharding"),
    [
        ("", "none"),
        ("", "fsdp"),
        # Open at 0.05, so that gates part; their share and that of experts are of the whole batch.
        ("use_token_gate = true\ngate_bias_init = 0.05\n" + EXPERTS, "none"),
    ],
    ids=["dense", "dense, shares", "gated experts"],
)
def test_two_processes_as_one(shards, tmp_path, shape, sharding):
    more = f'sharding = "{sharding}"\naccumulation = {2 if shape else 1}'
    in_one_and_in_two(shards, tmp_path, more, shape=shape)
    one, two = (DvseForCausalLM.from_pretrained(tmp_path / n).state_dict() for n in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "more",
    [
        "accumulation = 2\n{}\n[adapters]\nrank = 4",
        '{}\n[adapters]\nrank = 4\ntargets = ["all-linear"]',
        "activation_checkpointing = true\n{}\n[adapters]\nrank = 4\nbits = 4",
    ],
    ids=["default targets", "all-linear beside gates", "QLoRA"],
)
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_adapters_in_two_processes_as_in_one(shards, tmp_path, more, sharding):
    """Losses, what is saved, what loads with its decoder, and what comes of merging."""
    pytest.importorskip("peft")
    shape = "use_token_gate = true" if "all-linear" in more else ""
    in_one_and_in_two(shards, tmp_path, more.format(f'sharding = "{sharding}"'), shape=shape)
    ids = torch.arange(5, 30)[None]
    logits = []
    for name in ("one", "two"):
        assert not (tmp_path / name / "model.safetensors").exists()  # adapters alone
        loaded = load_model(tmp_path / name)
        with torch.no_grad():
            logits.append(loaded.model(ids).logits)
            base = load_model(tmp_path / f"{name}.base").model(ids).logits
        assert (logits[-1] - base).abs().max() > 0.01
        if "bits" in more:
            continue  # nothing is merged into integers
        save_model(loaded.model, "tiny", tmp_path / "merged", merge=True)
        with torch.no_grad():
            merged = DvseForCausalLM.from_pretrained(tmp_path / "merged")(ids).logits
        torch.testing.assert_close(merged, logits[-1], atol=1e-4, rtol=0)
    torch.testing.assert_close(*logits, atol=1e-2 if "bits" in more else 1e-3, rtol=0)


def in_one_and_in_two(shards, folder, more, *, shape=""):
    """Train the same recipe in one process and, with the same windows a step, in two of gloo."""
    assert main(words(folder, shards, "one", batch=4, more=more, shape=shape)) == 0
    asked = words(folder, shards, "two", batch=2, more=more, shape=shape)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "pipelines.cli", *asked]
    done = subprocess.run(command, capture_output=True, text=True, env=alone(), cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    losses = [
        [
            line["loss"]
            for line in map(json.loads, (folder / f"{n}.run/log.jsonl").read_text().splitlines())
            if "loss" in line
        ]
        for n in ("one", "two")
    ]
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
