"""Adapters saved beside the name of their decoder, and found together again."""

import json
import pickle
import shutil
import warnings

import pytest
import torch
from small_model import make_decoder

from dvse.errors import BundleFormatError, BundleNotFoundError, ConfigError, ModelMismatchError
from pipelines.answering.adapters import FILE
from pipelines.answering.model_directory import load_model, save_model
from pipelines.answering.model_folders import find_model

peft = pytest.importorskip("peft")
IDS = torch.tensor([[8001, 8002, 8004, 11, 500]])


def lora(**settings):
    wanted = {"r": 2, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False}
    return peft.LoraConfig(**wanted | settings)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_model(make_decoder(), "tiny", tmp_path_factory.mktemp("models") / "base")


def adapted(base, kind, **settings):
    decoder = load_model(base).model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers' own, met by PEFT
        if kind == "wrapped":
            return peft.get_peft_model(decoder, lora(**settings)).eval()
        decoder.add_adapter(lora(**settings))
        return decoder.eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["wrapped", "added"])
@pytest.mark.parametrize("settings", [{}, {"modules_to_save": ["norm"]}], ids=["lora", "and norm"])
def test_adapters_come_back_on_their_decoder(base, kind, settings, tmp_path):
    model = adapted(base, kind, **settings)
    for name, value in model.named_parameters():
        if "modules_to_save" in name:
            value.add_(0.5)
    expected = model(IDS).logits
    saved = save_model(model, "tiny", tmp_path / "lora")
    assert not (saved / "model.safetensors").exists() and not (saved / "config.json").exists()
    about = json.loads((saved / FILE).read_text())
    assert about["source"] == str(base) and len(about["sha256"]) == 64
    loaded = load_model(saved)
    assert loaded.name == "lora"
    assert torch.equal(loaded.model(IDS).logits, expected)
    assert not torch.allclose(load_model(base).model(IDS).logits, expected, atol=1e-3)
    again = save_model(loaded.model, saved, tmp_path / "again")
    assert torch.equal(load_model(again).model(IDS).logits, expected)
    assert torch.equal(pickle.loads(pickle.dumps(loaded)).model(IDS).logits, expected)
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, expected), "the model stays as it was"


@torch.no_grad()
def test_merging_is_there_on_request_and_where_there_is_no_decoder_to_name(base, tmp_path):
    model = adapted(base, "wrapped")
    expected = model(IDS).logits
    merged = save_model(model, "tiny", tmp_path / "merged", merge=True)
    assert (merged / "model.safetensors").exists() and not (merged / FILE).exists()
    assert torch.allclose(load_model(merged).model(IDS).logits, expected, atol=1e-5)
    changed = adapted(base, "added")
    changed.lm_head.weight.mul_(1.5)
    expected = changed(IDS).logits
    with pytest.raises(ConfigError, match="its own weights were changed; save that decoder first"):
        save_model(changed, "tiny", tmp_path / "x", merge=False)
    kept = save_model(changed, "tiny", tmp_path / "kept")
    assert not (kept / FILE).exists()
    assert torch.allclose(load_model(kept).model(IDS).logits, expected, atol=1e-5)
    assert not (tmp_path / "x").exists()


@torch.no_grad()
def test_in_place_of_its_own_decoder_the_adapters_are_merged(base, tmp_path):
    own = shutil.copytree(base, tmp_path / "own")
    model = adapted(own, "wrapped")
    expected = model(IDS).logits
    save_model(model, own, own)
    assert torch.allclose(load_model(own).model(IDS).logits, expected, atol=1e-5)


def test_without_their_decoder_they_are_refused_in_a_sentence(base, tmp_path):
    (tmp_path / "models").mkdir()
    own = shutil.copytree(base, tmp_path / "models" / "own")
    saved = save_model(adapted(own, "wrapped"), "tiny", tmp_path / "models" / "lora")
    own.rename(tmp_path / "away")
    with pytest.raises(BundleNotFoundError, match=f"lora: holds adapters of the decoder {own}"):
        load_model(saved)
    with pytest.raises(BundleNotFoundError, match="not there; put it back"):
        find_model(saved)
    # Moved together they find each other; another decoder under the name is none.
    (tmp_path / "moved").mkdir()
    (tmp_path / "away").rename(tmp_path / "moved" / "own")
    saved = saved.rename(tmp_path / "moved" / "lora")
    assert load_model(saved).name == "lora"
    torch.manual_seed(99)
    other = make_decoder()
    with torch.no_grad():
        other.lm_head.weight.add_(1)
    save_model(other, "tiny", tmp_path / "moved" / "own")
    with pytest.raises(ModelMismatchError, match="belong to the decoder"):
        load_model(saved)


def test_what_takes_no_adapters_and_what_is_damaged(base, tmp_path):
    saved = save_model(adapted(base, "wrapped"), "tiny", tmp_path / "lora")
    with pytest.raises(ConfigError, match="quantizing takes no adapters"):
        load_model(saved, quantize="int8")
    with pytest.raises(ConfigError, match="one set of adapters, received default, second"):
        model = adapted(base, "wrapped")
        model.add_adapter("second", lora())
        save_model(model, "tiny", tmp_path / "two", merge=False)
    (saved / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BundleFormatError, match="adapters cannot be loaded"):
        load_model(saved)
    (saved / FILE).write_text("{}")
    with pytest.raises(BundleFormatError, match="expected the base of adapters"):
        load_model(saved)
