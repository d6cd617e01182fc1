"""Directories that no weight has to be read of: their weights here are none."""

import json

import pytest
from transformers import AutoModelForCausalLM

from model import DvseConfig, DvseForCausalLM, load_glm
from model.errors import CheckpointError, ModelConfigError
from model.families import FAMILIES, base_of_lone_adapters, check_decoder_directory
from model.glm_config import _FAMILY

CUDAS_INT4 = "Int4WeightOnlyConfig"
SIZES = {
    "model_type": "dvse",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


def written(folder, **config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**SIZES, **config}))
    (folder / "model.safetensors").write_bytes(bytes(1000))  # reading it would fail
    return folder


def lone_adapters(folder, base):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (folder / "adapter_model.safetensors").write_bytes(bytes(1000))
    return folder


def test_every_family_has_its_translation():
    assert FAMILIES == ("dvse", *_FAMILY)


@pytest.mark.parametrize("load", [DvseForCausalLM.from_pretrained, load_glm])
def test_another_family(load, tmp_path):
    llama = written(tmp_path / "llama", model_type="llama")
    with pytest.raises(ModelConfigError, match=r"llama: expected a config.json .* got 'llama'"):
        load(llama)


def test_adapters_without_their_decoder(tmp_path):
    gone = tmp_path / "gone"
    lora = lone_adapters(tmp_path / "lora", str(gone))
    for load in (DvseForCausalLM.from_pretrained, load_glm, check_decoder_directory):
        with pytest.raises(CheckpointError, match=f"lora: holds adapters of the decoder {gone} "):
            load(lora)
    (lora / "adapter_config.json").write_text("no JSON")
    with pytest.raises(CheckpointError, match="none named"):
        load_glm(lora)


def test_adapters_whose_decoder_is_another_family(tmp_path):
    """transformers goes to the decoder that they name: no weight of either is read."""
    pytest.importorskip("peft")
    own = written(tmp_path / "own", model_type="llama")
    lora = lone_adapters(tmp_path / "lora", str(own))
    with pytest.raises(ModelConfigError, match="got 'llama'"):
        DvseForCausalLM.from_pretrained(lora)
    assert base_of_lone_adapters(own) is None


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quantized by gptq, which cannot run here"),
        ({"quant_method": "awq", "bits": 4}, "quantized by awq, which cannot run here"),
        (
            {
                "quant_method": "torchao",
                "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}},
            },
            "quantized by torchao, which cannot run here",
        ),
        ({"quant_method": "of tomorrow"}, "quantized by of tomorrow, which cannot run here"),
        ({"bits": 4}, "a method that it does not name, which cannot run here"),
        ({"quant_method": "dvse_weight_only", "bits": 3}, "bits must be 8 or 4, got 3"),
        (
            {"quant_method": "dvse_weight_only", "bits": 4, "group_size": 64},
            r"group_size must be one of \[32\] for rows of 96 weights, got 64",
        ),
    ],
)
def test_kernels_that_are_not_here(quantization, words, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name in ("optimum", "gptqmodel"):
        monkeypatch.setattr(
            f"transformers.quantizers.quantizer_gptq.is_{name}_available", lambda: False
        )
    monkeypatch.setattr(
        "transformers.quantizers.quantizer_awq.is_gptqmodel_available", lambda: False
    )
    folder = written(tmp_path / "small", quantization_config=quantization)
    for load in (DvseForCausalLM.from_pretrained, AutoModelForCausalLM.from_pretrained):
        with pytest.raises(ModelConfigError, match=words) as raised:
            load(folder)
        assert "\n" not in str(raised.value)


def test_a_quantization_that_runs_anywhere_is_let_through(tmp_path):
    """Ours: where there is no kernel, weights are multiplied out."""
    ours = {"quant_method": "dvse_weight_only", "bits": 8, "group_size": 128}
    folder = written(tmp_path / "small", quantization_config=ours)
    assert DvseConfig.from_pretrained(folder).quantization_config["bits"] == 8
    with pytest.raises(CheckpointError, match="cut off or no safetensors"):
        DvseForCausalLM.from_pretrained(folder)
