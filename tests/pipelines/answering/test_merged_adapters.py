"""A model with adapters is saved as one that anybody can open, and stays as it was."""

import warnings

import pytest
import torch
from small_model import make_decoder

from dvse.errors import ConfigError
from pipelines.answering.model_directory import load_model, save_model

peft = pytest.importorskip("peft")
IDS = torch.tensor([[8001, 8002, 8004, 11, 500]])


def lora(**settings) -> object:
    return peft.LoraConfig(
        r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False, **settings
    )


def wrapped():
    return peft.get_peft_model(make_decoder(), lora())


def added():
    decoder = make_decoder()
    decoder.add_adapter(lora())
    return decoder


@pytest.mark.parametrize("make", [wrapped, added])
def test_adapters_are_merged_and_the_model_keeps_them(make, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers' own, met by PEFT
        model = make().eval()
    with torch.no_grad():
        expected = model(IDS).logits
        saved = save_model(model, "tiny", tmp_path / "model")
        assert torch.equal(model(IDS).logits, expected)
        found = load_model(saved).model(IDS).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert not (saved / "adapter_config.json").exists()
    assert any("lora_A" in name for name, _ in model.named_parameters())
    plain = make_decoder().eval()
    with torch.no_grad():
        assert not torch.allclose(plain(IDS).logits, expected, atol=1e-2)


def test_what_cannot_be_merged_is_refused(tmp_path):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = peft.get_peft_model(make_decoder(), config)
    with pytest.raises(ConfigError, match="cannot be merged"):
        save_model(model, "tiny", tmp_path / "model")
    assert not (tmp_path / "model").exists()
