import json

import pytest
from transformers import AutoConfig, GlmConfig

from model import DvseConfig
from model.errors import ModelConfigError


def test_defaults_are_glm_4_9b():
    ours, glm = DvseConfig().to_dict(), GlmConfig().to_dict()
    differing = {key for key in glm if ours[key] != glm[key]}
    assert differing == {"model_type"}


def test_round_trip(make_config, tmp_path):
    config = make_config(use_token_gate=True, gate_thresholds=[0.5, -1.0], n_routed_experts=8)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.to_diff_dict() == config.to_diff_dict()
    assert config.gate_threshold(1) == -1.0


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"num_key_value_heads": 3}, "num_key_value_heads must divide num_attention_heads"),
        ({"num_key_value_heads": 0}, "choose one of 1, 2, 4"),
        ({"hidden_size": 30}, "must be a multiple of num_attention_heads"),
        ({"vocab_size": 0}, "vocab_size must be at least 1"),
        ({"pad_token_id": 61}, "below vocab_size"),
        ({"use_token_gate": True, "gate_thresholds": [0.0]}, "each of the 2 layers, got 1"),
        ({"gate_target_share": 1.5}, "between 0 and 1"),
        ({"n_routed_experts": 4, "num_experts_per_tok": 5}, "between 1 and n_routed_experts"),
        ({"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 3}, "must divide"),
        ({"hiden_size": 4}, "did you mean 'hidden_size'"),
        ({"zzz": 4}, "unknown key 'zzz'"),
    ],
)
def test_bad_fields(make_config, fields, words):
    with pytest.raises(ModelConfigError, match=words):
        make_config(**fields)


def test_an_unknown_key_in_a_file_is_refused(make_config, tmp_path):
    make_config().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "hiddn_size": 5}))
    with pytest.raises(ModelConfigError, match="hiddn_size"):
        DvseConfig.from_pretrained(tmp_path)


def test_key_value_heads_none_is_multi_head_attention(make_config):
    assert make_config(num_key_value_heads=None).num_key_value_groups == 1


def test_special_ids_beyond_the_vocabulary_are_dropped():
    config = DvseConfig(vocab_size=64, hidden_size=32, num_attention_heads=4)
    assert config.pad_token_id is None and config.eos_token_id is None


def test_tensor_parallel_plan_names_what_there_is(make_config):
    dense = make_config().base_model_tp_plan
    assert dense["layers.*.mlp.gate_up_proj"] == "packed_colwise"
    routed = make_config(n_routed_experts=4, num_experts_per_tok=1, first_k_dense_replace=0)
    assert "layers.*.mlp.experts" in routed.base_model_tp_plan
    assert "layers.*.mlp.gate_up_proj" not in routed.base_model_tp_plan
    assert not any("token_gate" in name for name in routed.base_model_tp_plan)
