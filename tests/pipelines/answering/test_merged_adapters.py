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


@pytest.mark.parametrize("is_tied", [True, False])
def test_new_rows_beside_adapters_are_merged_too(is_tied, tmp_path):
    """What `dvse train decoder` writes with `[adapters]`, merged after it was loaded."""
    base = save_model(make_decoder(tie_word_embeddings=is_tied), "tiny", tmp_path / "base")
    decoder = load_model(base).model
    settings = lora(trainable_token_indices={"embed_tokens": [500, 501, 8004]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        learner = peft.get_peft_model(decoder, settings)
    with torch.no_grad():
        for name, weight in learner.named_parameters():
            if "trainable_tokens_delta" in name:
                weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        expected = learner.eval()(IDS).logits
        alone = save_model(learner, "tiny", tmp_path / "adapters")
        loaded = load_model(alone).model
        torch.testing.assert_close(loaded(IDS).logits, expected, atol=1e-5, rtol=0)
        for model, name in ((loaded, "merged"), (learner, "merged at once")):
            merged = load_model(save_model(model, "tiny", tmp_path / name, merge=True)).model
            torch.testing.assert_close(merged(IDS).logits, expected, atol=1e-4, rtol=0)
            assert merged.state_dict().keys() == load_model(base).model.state_dict().keys()
        torch.testing.assert_close(loaded(IDS).logits, expected, atol=1e-5, rtol=0)


def test_what_cannot_be_merged_is_refused(tmp_path):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = peft.get_peft_model(make_decoder(), config)
    with pytest.raises(ConfigError, match="cannot be merged"):
        save_model(model, "tiny", tmp_path / "model")
    assert not (tmp_path / "model").exists()
