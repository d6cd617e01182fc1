"""Gates for a decoder that was trained without: what they save and what answers pay for it."""

import json
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import dvse
from model import DvseForCausalLM
from pipelines.cli import main
from pipelines.training.decoder.gates import GateFigures, answer_loss, brief, gate_decoder
from pipelines.training.decoder.recipe import DecoderRecipe, DecoderTraining

RECIPE = DecoderRecipe(training=DecoderTraining(batch_size=2, length=64, save_every=10))
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


def tokens(folder, words):
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Say {word}."},
                {"role": "assistant", "content": word},
            ]
        }
        for word in words
    ]
    path = folder / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["tokenize", str(path), "--output", str(folder / "tokens"), "--workers", "0"]) == 0
    return folder / "tokens"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return tokens(tmp_path_factory.mktemp("train"), WORDS * 3)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    return tokens(tmp_path_factory.mktemp("held-out"), WORDS)


@pytest.fixture(scope="module")
def gated(random_model, shards, held_out, tmp_path_factory):
    recipe = brief(RECIPE, num_steps=3, learning_rate=1e-3)
    folder = tmp_path_factory.mktemp("gates")
    return gate_decoder(
        random_model, dvse.load("tiny"), shards, held_out, recipe, folder, saving=0.002
    )


@torch.no_grad()
def test_the_loss_is_that_of_answers_one_row_at_a_time(random_model, held_out):
    decoder = DvseForCausalLM.from_pretrained(random_model).eval()
    total, count = 0.0, 0
    for batch in dvse.TokenDataset(held_out, batch_size=1, length=64, keep_whole=True):
        for number in range(int(batch.document_ids.max()) + 1):
            mine = batch.document_ids[0] == number
            ids, labels = batch.input_ids[:, mine], batch.labels[:, mine]
            logits = decoder(ids).logits[:, :-1].flatten(0, 1)
            total += float(F.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum"))
            count += int((labels >= 0).sum())
    assert answer_loss(decoder, held_out, RECIPE) == pytest.approx(total / count, rel=1e-4)


def test_gates_save_what_was_asked_for(gated, held_out):
    assert gated.decoder.config.use_token_gate
    assert gated.figures.saving >= 0.002
    assert len(gated.figures.open_share) == gated.decoder.config.num_hidden_layers
    assert 0 < sum(gated.figures.open_share) < len(gated.figures.open_share)
    assert answer_loss(gated.decoder, held_out, RECIPE) == gated.figures.loss_gated


def test_the_dense_decoder_was_trained_as_long(gated, random_model, held_out):
    before = DvseForCausalLM.from_pretrained(random_model)
    assert gated.figures.loss_before == answer_loss(before, held_out, RECIPE)
    assert gated.figures.loss_dense < gated.figures.loss_before
    assert gated.figures.num_steps == 3


def test_a_gated_decoder_survives_saving(gated, held_out, tmp_path):
    gated.decoder.save_pretrained(tmp_path)
    loaded = DvseForCausalLM.from_pretrained(tmp_path)
    assert answer_loss(loaded, held_out, RECIPE) == gated.figures.loss_gated
    assert all(layer.token_gate.weight.any() for layer in loaded.model.layers)


def test_cost_is_against_the_better_dense_decoder():
    figures = GateFigures(
        loss_before=0.5,
        loss_dense=0.4,
        loss_gated=0.404,
        saving=0.18,
        open_share=(0.5,),
        num_steps=1,
    )
    assert figures.cost == pytest.approx(0.01)
    assert replace(figures, loss_dense=0.6).cost == pytest.approx(0.404 / 0.5 - 1)
    assert figures.to_dict()["open_share"] == [0.5]


def test_further_steps_keep_the_other_settings():
    found = brief(RECIPE, num_steps=10, learning_rate=1e-4).training
    assert (found.max_steps, found.warmup_steps, found.learning_rate) == (10, 10, 1e-4)
    assert (found.batch_size, found.length) == (2, 64)


def test_the_wanted_share_of_open_gates_saves_what_is_wanted(random_model):
    from model import forward_flops
    from pipelines.training.decoder.gates import _open_share

    gated = DvseForCausalLM.from_pretrained(random_model, use_token_gate=True)
    share = _open_share(gated, 0.004, 100)
    dense = DvseForCausalLM.from_pretrained(random_model).config
    flops = forward_flops(gated.config, 100, open_share=share).total
    assert 1 - flops / forward_flops(dense, 100).total == pytest.approx(0.004)
    assert torch.tensor(share) < 1
