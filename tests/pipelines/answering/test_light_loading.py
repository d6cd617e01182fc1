"""What answers without transformers, and what is left to the full decoder."""

import json
import pickle
import shutil

import pytest
import torch
from small_model import make_decoder

import dvse
from dvse.errors import BundleFormatError, ConfigError, ModelMismatchError
from model import DvseForCausalLM
from model.plain.decoder import PlainDecoder
from pipelines.answering import light_loading
from pipelines.answering.light_loading import load_to_answer
from pipelines.answering.model_directory import load_model, save_model

TINY = dvse.load("tiny")


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def spoilable(random_model, tmp_path):
    return shutil.copytree(random_model, tmp_path / "mine")


def test_a_plain_decoder(random_model):
    """On a CPU the decoder is the plain one, with the full one's logits; it is never pickled."""
    plain, full = load_to_answer(random_model, threads=1), load_model(random_model, threads=1)
    assert type(plain.model) is PlainDecoder and plain.name == full.name
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        assert torch.allclose(plain.model(ids).logits, full.model(ids).logits, atol=1e-5)
    assert load_to_answer(random_model, dtype="bfloat16").model.dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="expected a dtype"):
        load_to_answer(random_model, dtype="float31")
    with pytest.raises(ConfigError, match="only a model that was loaded"):
        pickle.dumps(plain)


def test_what_is_not_plain(spoilable):
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    save_model(make_decoder(**experts), "tiny", spoilable)
    assert type(load_to_answer(spoilable).model) is DvseForCausalLM
    edit_json(spoilable / "config.json", hiden_size=1)
    with pytest.raises(BundleFormatError, match="hiden_size"):
        load_to_answer(spoilable)


def test_another_bundle(spoilable):
    """Said before a weight is read, or looked for."""
    edit_json(spoilable / "config.json", bundle_fingerprint="ab" * 32)
    (spoilable / "model.safetensors").unlink()
    with pytest.raises(ModelMismatchError, match=f"{'ab' * 32}.*{TINY.fingerprint}"):
        load_to_answer(spoilable)


def test_adapters_are_not_left_out(spoilable, monkeypatch):
    """transformers puts adapters that lie beside a decoder on it; the plain decoder knows none."""
    (spoilable / "adapter_config.json").write_text("{}")
    monkeypatch.setattr(light_loading, "load_model", lambda *args, **given: (args, given))
    given = {"device": "cpu", "dtype": None, "quantize": None, "threads": 1}
    assert load_to_answer(spoilable, threads=1) == ((spoilable,), given)
