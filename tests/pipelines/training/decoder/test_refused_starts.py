"""Where a decoder's training cannot begin: one sentence before a weight is read.

The checkpoints here have no weights, and no tokenizer that would be asked for next.
"""

import json

import pytest
from small_model import make_decoder

import dvse
from dvse.storage.finding import find_bundle
from pipelines.cli import main
from pipelines.training.decoder import staged
from pipelines.training.decoder.attending import check_attention
from pipelines.training.decoder.memory import TrainingMemory
from pipelines.training.decoder.recipe import DecoderRecipe, DecoderTraining, read_recipe

GLM = {
    "model_type": "glm",
    "vocab_size": 9600,
    "hidden_size": 64,
    "intermediate_size": 130,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
    "eos_token_id": [0],
}
OURS = {"quant_method": "dvse_weight_only", "bits": 8, "group_size": 128}


def checkpoint(folder, **fields):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**GLM, **fields}))
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def refused(text, tmp_path, capsys, *, plans=True):
    """Return the sentence of `dvse train decoder`; `dvse plan train` says the same."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    capsys.readouterr()
    doors = [["train", "decoder", "--data", str(tmp_path), "--recipe", str(recipe)]]
    doors[0] += ["--output", str(tmp_path / "out")]
    if plans:
        doors.append(["plan", "train", str(recipe)])
    told = []
    for words in doors:
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        told.append(line.partition(": ")[2])
    assert not (tmp_path / "out").exists()
    for line in told[1:]:
        assert line.partition(": ")[2] == told[0].partition(": ")[2]
    return told[0]


def test_another_family_and_adapters_alone(tmp_path, capsys):
    llama = checkpoint(tmp_path / "llama", model_type="llama")
    told = refused(f'[model]\ncheckpoint = "{llama}"', tmp_path, capsys)
    assert "expected a config.json of model_type dvse, glm, glm4, glm4_moe, got 'llama'" in told
    lora = checkpoint(tmp_path / "lora")
    (lora / "config.json").rename(lora / "adapter_config.json")
    (lora / "adapter_config.json").write_text('{"base_model_name_or_path": "/nowhere/own"}')
    told = refused(f'[model]\ncheckpoint = "{lora}"', tmp_path, capsys)
    assert "holds adapters of the decoder /nowhere/own and no decoder" in told
    (lora / "adapter_config.json").unlink()
    told = refused(f'[model]\ncheckpoint = "{lora}"', tmp_path, capsys)
    assert "config.json, found none in" in told


def test_bits_that_cannot_be_trained_with(tmp_path, capsys):
    pytest.importorskip("peft")
    even = checkpoint(tmp_path / "even")
    four = f'[model]\ncheckpoint = "{even}"\n[adapters]\nbits = 4'
    told = refused(four, tmp_path, capsys)
    assert "no group size among (32, 64, 128, 256) divides rows of [64, 130] weights" in told
    ours = checkpoint(tmp_path / "ours", quantization_config=OURS)
    begin = f'[model]\ncheckpoint = "{ours}"\n'
    for text, words in (
        ("", "its weights are quantized, and integers do not learn"),
        ("[adapters]\nbits = 8", "is quantized already; leave bits out"),
        (
            "[adapters]\n[[stages]]\nlearns = 'adapters'\n[[stages]]\nlearns = 'new rows'",
            "adapters are not merged into them; let them be the last stage",
        ),
    ):
        # dvse plan train names the recipe for what is wrong with it, too.
        assert words in refused(begin + text, tmp_path, capsys)
    strange = checkpoint(tmp_path / "strange", quantization_config={"quant_method": "of tomorrow"})
    told = refused(f'[model]\ncheckpoint = "{strange}"', tmp_path, capsys)
    assert "quantized by of tomorrow, which cannot run here" in told


def test_too_little_memory_for_the_length(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(staged, "new_decoder", None)  # no weight is asked for
    text = "[training]\nbatch_size = 40000\nlength = 2000"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    words = ["train", "decoder", "--data", str(tmp_path), "--recipe", str(recipe)]
    assert main([*words, "--output", str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert "memory of a step on each card" in told.out
    assert "batch_size = 40000 and length = 2000 need at least" in told.err
    assert len(told.err.splitlines()) == 1


def test_attention_that_cannot_be_trained_with(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name, words in (
        ("linear", "attention: expected sdpa, eager, flex_attention or flash_attention_2"),
        ("flex_attention", "its backward pass runs on cards alone"),
        ("flash_attention_2", "its backward pass runs on cards alone"),
    ):
        text = f"[training]\nattention = '{name}'"
        assert words in refused(text, tmp_path, capsys, plans=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="flash_attn is not installed"):
        check_attention("flash_attention_2")
    check_attention("flex_attention")


@pytest.mark.parametrize("more", ["", "[adapters]\nrank = 2"])
def test_the_attention_that_was_asked_for(more, tmp_path):
    """Behind adapters, too, whose decoder is saved and loaded again in between."""
    pytest.importorskip("peft")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"[training]\nattention = 'eager'\n{more}")
    tokenizer, stage = dvse.load("tiny"), read_recipe(recipe)
    run = staged.DecoderRun(
        recipe=stage,
        tokenizer=tokenizer,
        bundle=find_bundle("tiny"),
        shards=tmp_path,
        output=tmp_path / "out",
        tell=lambda line: None,
    )
    learner = run._learner(make_decoder(), stage, tmp_path / "base")
    assert learner.config._attn_implementation == "eager"
    assert "attention" not in DecoderRecipe().to_dict()["training"]
    assert stage.to_dict()["training"]["attention"] == "eager"


def test_what_surely_does_not_fit_by_hand():
    """120 bytes counted without moments are 100 at least; moments may go elsewhere."""
    memory = TrainingMemory(
        weights=70,
        adapters=0,
        gradients=20,
        optimizer=1000,
        activations=30,
        layer=10,
        logits=20,
    )
    memory.check_room(100, DecoderTraining())
    with pytest.raises(ValueError, match=r"need at least 0\.00 MiB on each card"):
        memory.check_room(99, DecoderTraining())


def test_rows_that_are_not_there_and_an_output_that_is_another_models(tmp_path, capsys):
    """Told before weights are made; nothing lies beside the output either."""
    words = ["train", "decoder", "--data", str(tmp_path), "--output"]
    assert main([*words, str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}: expected shard-*.parquet written by dvse tokenize, found none" in line
    (tmp_path / "hubert").mkdir()
    (tmp_path / "hubert" / "config.json").write_text('{"model_type": "hubert"}')
    assert main([*words, str(tmp_path / "hubert")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "hubert: expected a new or empty directory, or a model to replace" in line
    assert [path.name for path in tmp_path.iterdir()] == ["hubert"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = 3", "expected a table [model], received 3"),
        ("training = []", "expected a table [training], received []"),
        ("stages = 3", "expected tables [[stages]], received 3"),
        ("stages = [3]", "expected tables [[stages]], received [3]"),
        ("[training]\nlearning_rate = nan", "learning rate above zero"),
        ("[training]\nlearning_rate = inf", "learning rate above zero"),
        ('[model]\nuse_token_gate = "yes"', "Field 'use_token_gate' expected bool, got str"),
    ],
)
def test_recipes_of_other_kinds_of_values(tmp_path, capsys, text, words):
    assert words in refused(text, tmp_path, capsys)
