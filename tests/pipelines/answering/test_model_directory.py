"""The model directory: what opens it, what is refused, and that it is written whole."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from small_model import make_decoder
from transformers import AutoModelForCausalLM, AutoProcessor

import dvse
from dvse.errors import (
    BundleFormatError,
    BundleNotFoundError,
    ConfigError,
    ModelMismatchError,
)
from dvse.items import Text
from dvse.storage.bundle import Bundle
from pipelines.answering.model_directory import load_model, save_model
from pipelines.answering.model_folders import find_model

TINY = dvse.load("tiny")


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def spoilable(random_model, tmp_path):
    return shutil.copytree(random_model, tmp_path / "mine")


def test_every_door_opens_the_same_directory(random_model):
    assert dvse.load(random_model).fingerprint == TINY.fingerprint
    processor = AutoProcessor.from_pretrained(random_model)
    ids = processor(text=["hello"])["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(random_model)
    assert model(ids).logits.shape == (1, ids.shape[1], TINY.vocabulary.size)
    loaded = load_model(random_model)
    assert torch.equal(loaded.model(ids).logits, model(ids).logits)
    assert loaded.name == "random"
    assert loaded.device == "cpu"
    assert not loaded.model.training
    assert loaded.tokenizer.encode(Text("hello")).ids.tolist() == ids[0].tolist()


def test_whoever_trusts_its_code_need_not_know_the_package(random_model, tmp_path):
    """As vLLM opens it: by `auto_map`, the configuration before the model."""
    config = json.loads((random_model / "config.json").read_text())
    assert list(config["auto_map"])[:3] == ["AutoConfig", "AutoModel", "AutoModelForCausalLM"]
    script = """if True:
        import sys, torch
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
        config = AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=True)
        assert "model" in sys.modules and "dvse" not in sys.modules
        base = AutoModel.from_config(config, trust_remote_code=True)
        assert base.is_backend_compatible()
        model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
        print(model(torch.tensor([[5, 6, 7]])).logits[0, -1, :5].tolist())
    """
    done = subprocess.run(
        [sys.executable, "-c", script, str(random_model)],
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    logits = load_model(random_model).model(torch.tensor([[5, 6, 7]])).logits[0, -1, :5]
    assert json.loads(done.stdout) == pytest.approx(logits.tolist())


def test_the_bundle_in_it_is_the_shipped_one_and_whole(random_model):
    assert Bundle.open(random_model).fingerprint == TINY.fingerprint


def test_what_the_configs_say(random_model):
    config = json.loads((random_model / "config.json").read_text())
    assert config["bundle_fingerprint"] == TINY.fingerprint
    generation = json.loads((random_model / "generation_config.json").read_text())
    end, user = TINY.vocabulary.special_id("<|endoftext|>"), TINY.vocabulary.special_id("<|user|>")
    assert generation["eos_token_id"] == [end, user]
    assert generation["pad_token_id"] == end


def test_dtype(random_model):
    assert load_model(random_model).model.dtype == torch.float32
    assert load_model(random_model, dtype="bfloat16").model.dtype == torch.bfloat16
    assert load_model(random_model, dtype=torch.float16).model.dtype == torch.float16
    for wrong in ("float31", "int8", "nn"):
        with pytest.raises(ConfigError, match="expected a dtype"):
            load_model(random_model, dtype=wrong)


def test_another_bundle_is_refused_with_both_fingerprints(spoilable):
    edit_json(spoilable / "config.json", bundle_fingerprint="ab" * 32)
    with pytest.raises(ModelMismatchError, match=f"{'ab' * 32}.*{TINY.fingerprint}"):
        load_model(spoilable)


def test_a_decoder_that_names_no_bundle_is_refused(spoilable):
    edit_json(spoilable / "config.json", bundle_fingerprint=None)
    with pytest.raises(ModelMismatchError, match="none named"):
        load_model(spoilable)


def test_a_bundle_without_a_decoder(tmp_path):
    bundle = TINY.save(tmp_path / "only-a-bundle")
    with pytest.raises(BundleNotFoundError, match=r"without a decoder.*dvse train decoder"):
        load_model(bundle)


def test_neither_name_nor_folder(tmp_path):
    with pytest.raises(BundleNotFoundError, match="shipped name"):
        load_model(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_damaged_decoder(spoilable, name):
    path = spoilable / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BundleFormatError, match="the decoder cannot be loaded"):
        load_model(spoilable)


def test_a_bundle_in_a_folder_inside(random_model, tmp_path):
    """As `AutoProcessor.save_pretrained` leaves it beside a training checkpoint."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(random_model / name, checkpoint / name)
    Bundle.open(random_model).copy_to(checkpoint / "bundle")
    (checkpoint / "training_args.bin").write_bytes(b"\x80\x04.")
    folders = find_model(checkpoint)
    assert (folders.decoder, folders.bundle) == (checkpoint, checkpoint / "bundle")
    assert load_model(checkpoint).name == "checkpoint"


def test_sharded_weights(tmp_path):
    decoder = make_decoder()
    whole = save_model(decoder, "tiny", tmp_path / "model")
    decoder.save_pretrained(whole, max_shard_size="500KB")
    (whole / "model.safetensors").unlink()
    assert len(list(whole.glob("model-*.safetensors"))) > 1
    loaded = load_model(whole).model
    for one, other in zip(decoder.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(one, other)
    next(whole.glob("model-*.safetensors")).unlink()
    with pytest.raises(BundleFormatError, match="missing"):
        load_model(whole)


def test_saving_over_itself_and_over_a_bundle(tmp_path):
    folder = TINY.save(tmp_path / "mine")
    save_model(make_decoder(), folder, folder)
    before = (folder / "model.safetensors").read_bytes()
    save_model(make_decoder(initializer_range=0.1), folder, folder)
    assert (folder / "model.safetensors").read_bytes() != before
    assert load_model(folder).tokenizer.fingerprint == TINY.fingerprint
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_failed_write_leaves_the_old_model(spoilable, monkeypatch):
    decoder = make_decoder(initializer_range=0.1)
    before = (spoilable / "model.safetensors").read_bytes()

    def full_disk(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(decoder), "save_pretrained", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_model(decoder, "tiny", spoilable)
    assert (spoilable / "model.safetensors").read_bytes() == before
    assert [p.name for p in spoilable.parent.iterdir()] == ["mine"]


def test_what_is_not_overwritten(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(ConfigError, match="new or empty"):
        save_model(make_decoder(), "tiny", tmp_path / "photos")
    with pytest.raises(ConfigError, match="received a file"):
        save_model(make_decoder(), "tiny", tmp_path / "photos" / "cat.jpg")
    (tmp_path / "hubert").mkdir()
    (tmp_path / "hubert" / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(ConfigError, match="new or empty"):
        save_model(make_decoder(), "tiny", tmp_path / "hubert")
    assert [path.name for path in (tmp_path / "hubert").iterdir()] == ["config.json"]


def test_a_decoder_with_too_few_ids(tmp_path):
    with pytest.raises(ModelMismatchError, match=r"has 12552 ids, the decoder only 8000"):
        save_model(make_decoder(vocab_size=8000), "tiny", tmp_path / "model")
    assert not (tmp_path / "model").exists()
