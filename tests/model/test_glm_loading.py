"""GLM-4 checkpoints saved by transformers, and broken checkpoints."""

import json
import shutil

import pytest
import torch
from transformers import (
    Glm4Config,
    Glm4ForCausalLM,
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    GlmConfig,
    GlmForCausalLM,
)

from model import DvseForCausalLM, load_glm
from model.errors import (
    CheckpointError,
    MissingShardError,
    ModelConfigError,
    TensorShapeError,
)
from model.plain.loading import load_plain

FIELDS = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "eos_token_id": [1, 2],
}


@pytest.fixture
def glm():
    config = GlmConfig(**FIELDS)
    return GlmForCausalLM(config).eval()


@pytest.fixture
def directory(glm, tmp_path):
    glm.save_pretrained(tmp_path / "glm", max_shard_size="20KB")
    return tmp_path / "glm"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@torch.no_grad()
def test_old_ids_keep_their_logits(glm, ids, tmp_path, tied, implementation):
    glm.config.tie_word_embeddings = tied
    glm = GlmForCausalLM(glm.config).eval()
    glm.save_pretrained(tmp_path)
    model = load_glm(tmp_path, num_new_ids=24, init=torch.randn(24, 5)).eval()
    glm.set_attn_implementation(implementation)
    model.set_attn_implementation(implementation)
    assert model.config.vocab_size == 85
    assert model.config.eos_token_id == [1, 2]
    assert torch.allclose(model(ids).logits[..., :61], glm(ids).logits, atol=1e-5)
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    ours, theirs = model(ids, attention_mask=mask).logits, glm(ids, attention_mask=mask).logits
    assert torch.allclose(ours[..., :61][mask.bool()], theirs[mask.bool()], atol=1e-5)


@torch.no_grad()
def test_generation_is_glms(glm, directory, ids):
    model = load_glm(directory)
    mask = torch.ones_like(ids)
    for how in ({}, {"num_beams": 2}):
        settings = {"attention_mask": mask, "max_new_tokens": 12, "do_sample": False, **how}
        assert torch.equal(model.generate(ids, **settings), glm.generate(ids, **settings))


@torch.no_grad()
def test_gates_can_be_added_to_a_dense_checkpoint(glm, directory, ids, tmp_path):
    model = load_glm(directory, use_token_gate=True).eval()
    assert model.model.layers[0].token_gate.bias.item() == 4.0
    assert torch.allclose(model(ids).logits, glm(ids).logits, atol=1e-5)
    model.save_pretrained(tmp_path / "gated")
    again = DvseForCausalLM.from_pretrained(tmp_path / "gated")
    assert torch.equal(again(ids).logits, model(ids).logits)


def glm4_0414():
    config = Glm4Config(**FIELDS)
    return Glm4ForCausalLM(config).eval()


def glm4_5(**fields):
    given = {
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
        "n_group": 4,
        "topk_group": 2,
        "routed_scaling_factor": 1.5,
        "attention_bias": True,
        "use_qk_norm": True,
        "num_hidden_layers": 3,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
    }
    model = Glm4MoeForCausalLM(Glm4MoeConfig(**{**FIELDS, **given, **fields})).eval()
    for name, weight in model.state_dict().items():
        if name.endswith(("_norm.weight", "layernorm.weight", "correction_bias", "proj.bias")):
            torch.nn.init.normal_(weight, 0.5, 0.3)  # what a fresh model has alike
    return model


NEWER = {
    "0414": glm4_0414,
    "0414, tied": lambda: Glm4ForCausalLM(Glm4Config(**FIELDS, tie_word_embeddings=True)).eval(),
    "4.5": glm4_5,
    "4.5, air": lambda: glm4_5(use_qk_norm=False, attention_bias=False, tie_word_embeddings=True),
}


@pytest.mark.parametrize("make", NEWER.values(), ids=NEWER)
@torch.no_grad()
def test_newer_checkpoints(make, ids, tmp_path):
    theirs = make()
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    ours = load_glm(tmp_path / "theirs", num_new_ids=5, use_token_gate=True).eval()
    expected = theirs(ids).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(ids).logits[..., :61], expected, atol=1e-5, rtol=0)
    plain = load_glm(tmp_path / "theirs").eval()
    settings = {"max_new_tokens": 9, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    assert torch.equal(plain.generate(ids, **settings), theirs.generate(ids, **settings))
    plain.save_pretrained(tmp_path / "ours")
    again = DvseForCausalLM.from_pretrained(tmp_path / "ours")
    torch.testing.assert_close(again(ids).logits, plain(ids).logits, atol=1e-6, rtol=0)
    if (light := load_plain(tmp_path / "ours")) is not None:
        torch.testing.assert_close(light(ids).logits, expected, atol=1e-5, rtol=0)
    assert (light is None) == bool(plain.config.has_experts)


def test_a_shard_of_glm_4_5_that_is_missing(tmp_path):
    glm4_5().save_pretrained(tmp_path, max_shard_size="20KB")
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(MissingShardError, match=shard.name):
        load_glm(tmp_path)


def test_a_missing_shard(directory):
    shard = sorted(directory.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(MissingShardError, match=f"{shard.name} is missing"):
        DvseForCausalLM.from_pretrained(directory)


def test_a_shard_that_is_cut_off(directory):
    shard = sorted(directory.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f"{shard.name} is cut off"):
        DvseForCausalLM.from_pretrained(directory)


def test_wrong_shapes_name_the_tensor(directory):
    file = directory / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "intermediate_size": 40}))
    with pytest.raises(
        TensorShapeError,
        match=r"mlp.down_proj.weight is \[32, 48\] instead of \[32, 40\].* and 1 more",
    ):
        DvseForCausalLM.from_pretrained(directory)
    model = DvseForCausalLM.from_pretrained(directory, ignore_mismatched_sizes=True)
    assert model.model.layers[0].mlp.down_proj.weight.shape == (32, 40)


def test_another_architecture(directory):
    file = directory / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_type": "llama"}))
    with pytest.raises(ModelConfigError, match="dvse, glm, glm4, glm4_moe, got 'llama'"):
        DvseForCausalLM.from_pretrained(directory)


def test_every_way_of_naming_the_checkpoint(directory, glm, ids):
    by_keyword = DvseForCausalLM.from_pretrained(pretrained_model_name_or_path=str(directory))
    by_weights = DvseForCausalLM.from_pretrained(
        None, config=by_keyword.config, state_dict=glm.state_dict()
    )
    assert torch.equal(by_keyword(ids).logits, by_weights(ids).logits)


def test_no_checkpoint(tmp_path, directory):
    with pytest.raises(CheckpointError, match=r"config.json, found none"):
        load_glm(tmp_path / "nothing")
    for file in directory.glob("*.safetensors*"):
        file.unlink()
    with pytest.raises(OSError, match="safetensors"):
        load_glm(directory)
    shutil.rmtree(directory)
