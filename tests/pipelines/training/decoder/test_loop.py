"""Training a decoder on shards: it learns, it goes on after a kill, it refuses what is not its."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import dvse
from dvse.errors import ConfigError, TrainingError
from pipelines.answering.captioner import Captioner
from pipelines.cli import main
from pipelines.training.decoder.loop import Windows, last_whole_checkpoint
from pipelines.training.decoder.recipe import DecoderRecipe, DecoderTraining
from pipelines.training.decoder.start import new_decoder

RECIPE = """
[model]
preset = "tiny"
hidden_size = 64
intermediate_size = 128
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
[training]
max_steps = {steps}
batch_size = 2
length = 64
learning_rate = 1e-2
warmup_steps = 2
save_every = {save_every}
sample_every = 1000
"""
ANSWERS = {"Ping?": "pong", "Who?": "me", "你是谁?": "我"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoder")
    rows = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in ANSWERS.items()
    ] * 4
    path = folder / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["tokenize", str(path), "--output", str(folder / "tokens")]) == 0
    return folder / "tokens"


def train(shards, output, *, steps=40, save_every=1000, more=()):
    recipe = output.with_suffix(".toml")
    recipe.write_text(RECIPE.format(steps=steps, save_every=save_every))
    words = ["--data", str(shards), "--recipe", str(recipe), "--output", str(output), *more]
    return main(["train", "decoder", "--threads", "1", *words])


def test_a_small_set_is_learnt_by_heart(shards, tmp_path):
    assert train(shards, tmp_path / "model") == 0
    captioner = Captioner.load(tmp_path / "model")
    assert captioner.model.config.use_cache, "saved as it was before the training"
    assert captioner([dvse.Text(question) for question in ANSWERS]) == list(ANSWERS.values())
    log = [
        json.loads(line) for line in (tmp_path / "model.run" / "log.jsonl").read_text().splitlines()
    ]
    assert log[0]["loss"] > 1 > log[-1]["train_loss"] / 5


def test_moments_in_eight_bits_learn_as_well(shards, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(globals(), "RECIPE", RECIPE + 'optimizer = "adamw_bnb_8bit"\n')
    if importlib.util.find_spec("bitsandbytes") is None:
        assert train(shards, tmp_path / "model") == 1
        assert "install it with: pip install 'dvse[optimizers]'" in capsys.readouterr().err
        assert not (tmp_path / "model.run").exists()
        return
    assert train(shards, tmp_path / "model") == 0
    captioner = Captioner.load(tmp_path / "model")
    assert captioner([dvse.Text(question) for question in ANSWERS]) == list(ANSWERS.values())
    state = torch.load(next((tmp_path / "model.run").rglob("optimizer.pt")), weights_only=False)
    sizes = {torch.uint8: 0, torch.float32: 0}
    for tensor in _tensors(state["state"]):
        sizes[tensor.dtype] += tensor.numel()
    # Two moments in a byte each; of the table, which is the head, too, the Trainer keeps float32.
    weights = dict(captioner.model.named_parameters())
    table = weights.pop("model.embed_tokens.weight").numel()
    assert sizes[torch.uint8] == 2 * sum(w.numel() for w in weights.values() if w.numel() >= 4096)
    assert 0 <= sizes[torch.float32] - 2 * table < 0.1 * table


def _tensors(held):
    if torch.is_tensor(held):
        return [held] if held.dim() else []
    values = held.values() if isinstance(held, dict) else []
    return [tensor for value in values for tensor in _tensors(value)]


def weights(folder):
    return Captioner.load(folder).model.state_dict()


def test_a_run_that_was_stopped_ends_with_the_same_weights(shards, tmp_path, monkeypatch):
    assert train(shards, tmp_path / "whole", steps=6, save_every=3) == 0

    from transformers import Trainer

    step = Trainer.training_step

    def killed(self, *args, **kwargs):
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", killed)
    assert train(shards, tmp_path / "cut", steps=6, save_every=3) == 130
    monkeypatch.undo()
    assert train(shards, tmp_path / "cut", steps=6, save_every=3, more=["--resume"]) == 0
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_folder_with_a_run_is_not_overwritten(shards, tmp_path, capsys):
    assert train(shards, tmp_path / "model", steps=2, save_every=1) == 0
    assert train(shards, tmp_path / "model", steps=2, save_every=1) == 1
    assert "--resume" in capsys.readouterr().err
    assert train(shards, tmp_path / "model", steps=3, save_every=1, more=["--resume"]) == 1
    assert "another recipe" in capsys.readouterr().err


def test_a_shape_that_does_not_fit(shards, tmp_path, capsys):
    recipe = tmp_path / "bad.toml"
    recipe.write_text("[model]\nnum_attention_heads = 8\nnum_key_value_heads = 3\n")
    words = ["--data", str(shards), "--recipe", str(recipe), "--output", str(tmp_path / "m")]
    assert main(["train", "decoder", *words]) == 2
    assert "recipe" in capsys.readouterr().err


def test_shards_of_another_bundle_are_refused(shards, tmp_path):
    from pipelines.training.decoder import loop

    tokenizer = dvse.load("tiny")
    tokenizer.fingerprint = "0" * 64
    recipe = DecoderRecipe(training=DecoderTraining(max_steps=1))
    with pytest.raises(TrainingError, match="tokenise again"):
        loop.train_decoder(
            new_decoder(recipe, tokenizer), tokenizer, shards, recipe, tmp_path / "run"
        )


def test_too_few_rows_for_a_batch(shards, tmp_path):
    from pipelines.training.decoder import loop

    tokenizer = dvse.load("tiny")
    recipe = DecoderRecipe(training=DecoderTraining(max_steps=1, batch_size=64, length=512))
    with pytest.raises(TrainingError, match="lower the batch size"):
        loop.train_decoder(
            new_decoder(recipe, tokenizer), tokenizer, shards, recipe, tmp_path / "run"
        )


def test_only_answers_carry_loss(shards):
    tokenizer = dvse.load("tiny")
    batch = next(iter(Windows(dvse.TokenDataset(shards, batch_size=4, length=64, shuffle=False))))
    learnt = batch["labels"][batch["labels"] >= 0].unique().tolist()
    pieces = {tokenizer.name_of(i) for i in learnt}
    user_only = set(tokenizer.encode(dvse.Text("Ping?")).ids.tolist())
    answers = set(np.concatenate([tokenizer.encode(dvse.Text(a)).ids for a in ANSWERS.values()]))
    assert "<|endoftext|>" in pieces
    assert not (user_only - answers) & set(learnt)


def test_codes_begin_near_their_neighbours():
    tokenizer = dvse.load("tiny")
    decoder = new_decoder(DecoderRecipe(), tokenizer)
    rows = decoder.get_input_embeddings().weight
    ids = tokenizer.vocabulary.code_ids("audio", np.arange(200))
    found = torch.nn.functional.normalize(rows[ids] - rows[ids].mean(0), dim=1)
    book = tokenizer.audio.codebook.decode(torch.arange(200).unsqueeze(1))
    centred = torch.nn.functional.normalize(book - book.mean(0), dim=1)
    assert torch.allclose(found @ found.T, centred @ centred.T, atol=1e-3)


def test_ranks_that_are_no_numbers(monkeypatch, shards, tmp_path):
    from pipelines.training.decoder import loop

    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ConfigError, match="RANK"):
        loop._rank()


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_a_checkpoint_that_breaks_off_is_not_gone_on_from(tmp_path, num_ranks):
    """Whole are those of steps 2 and 10; each later one lacks one thing."""
    state = json.dumps({"global_step": 0})
    for step in (2, 10, 11, 12, 13, 14):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(state.replace("0", str(step)))
        for rank in range(num_ranks):
            (folder / f"rng_state_{rank}.pth").touch()
    (tmp_path / "checkpoint-11" / "trainer_state.json").unlink()
    (tmp_path / "checkpoint-12" / "trainer_state.json").write_text('{"global_st')
    (tmp_path / "checkpoint-13" / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-14" / "rng_state_0.pth").unlink()
    expected = "checkpoint-10" if num_ranks == 2 else "checkpoint-14"
    assert Path(last_whole_checkpoint(tmp_path, num_ranks=num_ranks)).name == expected
    assert last_whole_checkpoint(tmp_path / "nowhere", num_ranks=num_ranks) is None


def test_a_run_whose_last_checkpoint_breaks_off_goes_on_from_the_one_before(shards, tmp_path):
    assert train(shards, tmp_path / "whole", steps=6, save_every=2) == 0
    assert train(shards, tmp_path / "cut", steps=6, save_every=2) == 0
    checkpoints = tmp_path / "cut.run" / "checkpoints"
    (checkpoints / "checkpoint-6" / "trainer_state.json").unlink()
    shutil.rmtree(tmp_path / "cut")
    assert train(shards, tmp_path / "cut", steps=6, save_every=2) == 1, "a run is there already"
    assert train(shards, tmp_path / "cut", steps=6, save_every=2, more=["--resume"]) == 0
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
