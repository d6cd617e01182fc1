"""What is loaded plainly, and what is left to the full decoder."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from model import quantize
from model.plain.loading import load_plain


@pytest.fixture
def saved(make_model, tmp_path):
    make_model().save_pretrained(tmp_path)
    return tmp_path


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_weights_are_copies_in_eval_mode(saved):
    decoder = load_plain(saved)
    before = decoder.lm_head.weight.clone()
    (saved / "model.safetensors").write_bytes(b"\0" * (saved / "model.safetensors").stat().st_size)
    assert torch.equal(decoder.lm_head.weight, before)
    assert not decoder.training and not any(p.requires_grad for p in decoder.parameters())


def test_tied_weights_are_one(make_model, tmp_path):
    make_model(tie_word_embeddings=True).save_pretrained(tmp_path)
    decoder = load_plain(tmp_path)
    assert decoder.lm_head.weight is decoder.model.embed_tokens.weight


def test_shards(make_model, tmp_path):
    make_model().save_pretrained(tmp_path / "one")
    make_model().save_pretrained(tmp_path / "many", max_shard_size="10KB")
    assert not (tmp_path / "many" / "model.safetensors").exists()
    torch.manual_seed(0)
    whole, parts = (load_plain(tmp_path / name).state_dict() for name in ("one", "many"))
    assert whole.keys() == parts.keys()
    next((tmp_path / "many").glob("*-00002-of-*")).unlink()
    assert load_plain(tmp_path / "many") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "glm"},
        {"hiden_size": 64},
        {"hidden_act": "gelu"},
        {"n_routed_experts": 4},
        {"hidden_size": 64},
        {"num_key_value_heads": 3},
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        {"gate_thresholds": [0.0]},
        {"dtype": "float31"},
        {"vocab_size": None},
    ],
)
def test_what_is_not_plain(saved, changes):
    assert load_plain(saved) is not None
    edit(saved, **changes)
    assert load_plain(saved) is None


def test_what_is_not_whole(saved, tmp_path):
    weights = load_file(saved / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, saved / "model.safetensors")
    assert load_plain(saved) is None
    (saved / "model.safetensors").write_bytes(b"cut off")
    assert load_plain(saved) is None
    (saved / "config.json").write_text("{")
    assert load_plain(saved) is None
    assert load_plain(tmp_path / "nothing") is None


def test_quantized_weights(make_model, tmp_path):
    quantize(make_model(), bits=8).save_pretrained(tmp_path)
    assert load_plain(tmp_path) is None
