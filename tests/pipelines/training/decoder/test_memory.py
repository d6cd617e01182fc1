"""The memory of a step as it is planned, against a step that is run; what is refused."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from model import DvseForCausalLM, preset
from pipelines.cli import main
from pipelines.training.decoder.adapting import let_learn, with_adapters
from pipelines.training.decoder.memory import training_memory
from pipelines.training.decoder.recipe import AdapterSettings, DecoderRecipe, DecoderTraining

SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "head_dim": 32,
    "vocab_size": 2000,
}
ADDED = range(1500, 2000)
EXPERTS = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128}
CASES = {
    "dense": ({}, {}, None),
    "computed again": ({}, {"activation_checkpointing": True, "length": 256}, None),
    "bf16": ({}, {"precision": "bf16"}, None),
    "accumulated": ({"use_token_gate": True}, {"accumulation": 2}, None),
    "experts": (EXPERTS, {}, None),
    "new rows": ({}, {"learns": "new rows"}, None),
    "adapters": ({}, {}, AdapterSettings(rank=8)),
    "adapters, two tables": (
        {"tie_word_embeddings": False},
        {"precision": "bf16"},
        AdapterSettings(new_rows=False),
    ),
}
USUAL = ("dense", "computed again", "adapters")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=[] if name in USUAL else pytest.mark.slow) for name in CASES]
)
def test_as_much_as_a_step_takes(case):
    shape, training, adapters = CASES[case]
    if adapters is not None:
        pytest.importorskip("peft")
    recipe = DecoderRecipe(
        training=DecoderTraining(**{"batch_size": 4, "length": 128, **training}), adapters=adapters
    )
    config = preset("tiny", **SHAPE, **shape)
    planned = training_memory(config, recipe, ADDED)
    at_rest, peak = _measured(config, recipe)
    told = planned.weights + planned.adapters + planned.optimizer
    assert told == pytest.approx(at_rest, rel=0.01)
    assert 0.95 * peak < planned.peak < 1.2 * peak


def _measured(config, recipe):
    """Bytes between steps, and the most that torch's own allocator holds in the third step."""
    settings = recipe.training
    torch.manual_seed(0)
    model = learner = DvseForCausalLM(config).train()
    let_learn(model, settings, ADDED)
    if recipe.adapters is not None:
        learner = with_adapters(model, recipe.adapters, ADDED)
    if settings.activation_checkpointing:
        model.activation_checkpointing_enable()
    optimizer = torch.optim.AdamW([p for p in learner.parameters() if p.requires_grad], fused=True)
    ids = torch.randint(2, config.vocab_size, (settings.batch_size, settings.length))
    places = torch.arange(settings.length).expand_as(ids)

    def step():
        for _ in range(settings.accumulation):
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
                loss = learner(
                    input_ids=ids,
                    position_ids=places,
                    labels=ids,
                    logits_to_keep="labelled",
                    use_cache=False,
                ).loss
            loss.backward()
            del loss
        optimizer.step()
        optimizer.zero_grad()

    step()
    states = [v for held in optimizer.state.values() for v in held.values() if torch.is_tensor(v)]
    kept = [*learner.parameters(), *learner.buffers(), *states]
    at_rest = sum(t.numel() * t.element_size() for t in kept)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    held = most = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return at_rest, at_rest + most


def test_eight_bit_moments_by_hand():
    shape = preset("tiny", **SHAPE)
    usual, small, theirs = (
        training_memory(shape, DecoderRecipe(training=DecoderTraining(optimizer=name)), ADDED)
        for name in ("adamw_torch_fused", "adamw_torch_8bit", "adamw_bnb_8bit")
    )
    assert usual.optimizer == 2 * usual.gradients
    norms = 7 * 128 * 8  # too short for blocks: two float32 moments each
    biases = 3 * (128 + 2 * 64) * 8
    blocked = usual.gradients // 4 - 7 * 128 - 3 * (128 + 2 * 64)
    assert small.optimizer == pytest.approx(norms + biases + blocked * (2 + 8 / 256), abs=64)
    # With bitsandbytes the Trainer leaves tables in float32; a tied one is the head, too.
    tables = shape.vocab_size * shape.hidden_size
    assert theirs.optimizer - small.optimizer == pytest.approx(tables * (6 - 8 / 256), abs=64)


def test_two_cards_share_what_they_hold():
    recipe = DecoderRecipe(training=DecoderTraining(sharding="fsdp"))
    one, two = (
        training_memory(preset("tiny", **SHAPE), recipe, ADDED, num_cards=n) for n in (1, 2)
    )
    assert (two.gradients, two.optimizer) == (one.gradients // 2, one.optimizer // 2)
    assert one.weights / 2 < two.weights and two.activations == one.activations


def test_two_cards_share_what_stays_beside_adapters():
    pytest.importorskip("peft")
    for bits in (None, 4):
        recipe = DecoderRecipe(
            training=DecoderTraining(sharding="fsdp"), adapters=AdapterSettings(rank=8, bits=bits)
        )
        config = preset("tiny", **{**SHAPE, "intermediate_size": 384, "num_hidden_layers": 30})
        one, two = (training_memory(config, recipe, ADDED, num_cards=n) for n in (1, 2))
        assert (two.gradients, two.optimizer) == (one.gradients, one.optimizer)
        assert two.adapters == one.adapters
        # Integers are buffers, which are not cut.
        assert (two.weights < 0.7 * one.weights) == (bits is None)


def test_nine_billion_without_a_checkpoint(tmp_path, capsys):
    pytest.importorskip("peft")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("""
[model]
checkpoint = "nowhere/at-all"
[training]
batch_size = 1
length = 2048
precision = "bf16"
activation_checkpointing = true
[adapters]
rank = 16
""")
    words = ["plan", "train", str(recipe), "--shape", "9b"]
    assert main([*words, "--labelled-share", "0.2"]) == 0
    out = capsys.readouterr().out
    # 9,399,951,360 weights of two bytes, two of them the tables: counted by hand in test_sizes.
    assert f"weights              {9_399_951_360 * 2 / 2**30:9.2f} GiB" in out
    assert "of 24 GiB left" in out
    assert main([*words, "--card-gib", "16"]) == 3
    assert "more than the 16 GiB of a card" in capsys.readouterr().out


def test_what_is_refused(tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[model]\nnum_attention_heads = 8\nnum_key_value_heads = 3\n")
    assert main(["plan", "train", str(recipe)]) == 2
    assert "recipe.toml: num_key_value_heads must divide" in capsys.readouterr().err
    assert main(["plan", "train", str(recipe), "--labelled-share", "2"]) == 2
    assert main(["plan", "train", str(tmp_path / "none.toml")]) == 2
    assert "expected a recipe in TOML" in capsys.readouterr().err
    recipe.write_text('[model]\ncheckpoint = "glm"\ndtype = "bf17"\n')
    assert main(["plan", "train", str(recipe), "--shape", "9b"]) == 2
    assert "bfloat16, got 'bf17'" in capsys.readouterr().err
