"""transformers' usual call, and finding the class through AutoProcessor in every import order."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, BatchFeature, ProcessorMixin

import dvse
from dvse.errors import ConfigError, IdRangeError, InputError, ItemTypeError
from dvse.processor import DvseProcessor
from dvse.storage.bundle import Bundle

REPOSITORY = Path(dvse.__file__).parents[1]


def picture(red: int) -> np.ndarray:
    return np.full((4, 4, 3), red, np.uint8)


@pytest.fixture(scope="module")
def processor(tokenizer) -> DvseProcessor:
    return DvseProcessor(tokenizer)


def test_the_usual_call(processor, tokenizer):
    features = processor(
        text=["What?", "And this picture?"], images=[picture(1), picture(2)], return_tensors="pt"
    )
    assert isinstance(features, BatchFeature)
    assert set(features) == set(processor.model_input_names)
    expected = tokenizer(
        [
            [dvse.Image(picture(i + 1)), dvse.Text(t)]
            for i, t in enumerate(["What?", "And this picture?"])
        ],
        padding_side="left",
    )
    assert torch.equal(features["input_ids"], expected.input_ids)
    assert torch.equal(features["modality_ids"], expected.modality_ids)
    assert features["attention_mask"].dtype == torch.int64
    assert torch.equal(features["attention_mask"].bool(), expected.attention_mask)


def test_positional_order_is_transformers_own(processor):
    by_name = processor(images=picture(1), text="a")
    assert torch.equal(processor(picture(1), "a")["input_ids"], by_name["input_ids"])


def test_single_inputs_and_several_pictures_a_row(processor, tokenizer):
    one = processor(text="a", audio=np.ones(20, np.float32), sampling_rate=100)
    assert one["modality_ids"].tolist() == [[2, 2, 2, 2, *[0] * (one["input_ids"].shape[1] - 4)]]
    two = processor(images=[[picture(1), picture(2)]])
    row = tokenizer.encode([dvse.Image(picture(1)), dvse.Image(picture(2))])
    assert two["input_ids"].tolist() == [row.ids.tolist()]


@pytest.mark.parametrize("kind", ["pt", "np", None])
def test_tensors_arrays_and_lists(processor, kind):
    ids = processor(text=["a", "a b c"], return_tensors=kind)["input_ids"]
    assert type(ids) is {"pt": torch.Tensor, "np": np.ndarray, None: list}[kind]
    assert np.asarray(ids).shape[0] == 2


def test_padding_options(processor):
    features = processor(text="a", padding="max_length", max_length=9, padding_side="left")
    assert features["input_ids"].shape == (1, 9)
    assert features["attention_mask"][0, 0] == 0
    assert processor(text="a b c d", max_length=2, truncation=True)["input_ids"].shape == (1, 2)
    assert processor(text=["a", "a"], padding=False)["input_ids"].shape[0] == 2
    with pytest.raises(InputError, match="pass padding=True"):
        processor(text=["a", "a b c"], padding=False)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ItemTypeError, "at least one of text=, images=, audio="),
        ({"text": ["a", "b"], "images": [picture(1)]}, InputError, r"\{'images': 1, 'text': 2\}"),
        ({"text": "a", "videos": "x"}, ConfigError, "videos"),
        ({"text": "a", "return_dict": True}, ConfigError, "return_dict"),
        ({"text": 5}, ItemTypeError, "takes a str"),
        ({"text": "a", "return_tensors": "tf"}, ConfigError, "'pt', 'np' or None"),
        ({"images": "missing.png"}, InputError, "row 0"),
    ],
)
def test_other_calls_are_refused(processor, options, error, message):
    with pytest.raises(error, match=message):
        processor(**options)


def test_decode(processor):
    features = processor(text=["hello", "a <|user|> b"], images=[picture(1), picture(2)])
    assert processor.batch_decode(features["input_ids"]) == ["hello", "a <|user|> b"]
    first = features["input_ids"][0][features["attention_mask"][0] == 1]
    assert processor.decode(first, skip_special_tokens=False) == (
        "<|begin_of_image|><|grid_1|><|grid_1|><|image_1|><|image_l1_1|><|end_of_image|>hello"
    )
    with pytest.raises(IdRangeError, match="batch_decode"):
        processor.decode(features["input_ids"])


def test_chat_template(processor, tokenizer):
    messages = [
        {
            "role": "user",
            "content": [{"type": "image", "image": picture(3)}, {"type": "text", "text": "?"}],
        }
    ]
    features = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    expected = tokenizer.apply_chat_template(messages)
    assert torch.equal(features["input_ids"], expected.input_ids)
    assert features["attention_mask"].dtype == torch.int64
    assert processor.apply_chat_template(messages, tokenize=False) == (
        "[gMASK]<sop><|user|>\n<|begin_of_image|><|grid_1|><|grid_1|><|image_3|><|image_l1_3|>"
        "<|end_of_image|>?"
    )
    assert len(processor.apply_chat_template([messages, messages], tokenize=False)) == 2


def test_it_is_a_processor(processor):
    assert isinstance(processor, ProcessorMixin)
    assert repr(processor).startswith("DvseProcessor(Tokenizer('fake'")


def test_auto_processor_in_this_process(text_bundle):
    processor = AutoProcessor.from_pretrained(text_bundle)
    assert type(processor) is DvseProcessor
    assert processor.batch_decode(processor(text=["hello"])["input_ids"]) == ["hello"]


def test_save_pretrained_and_back(text_bundle, tmp_path):
    processor = DvseProcessor.from_pretrained(text_bundle, threads=1)
    files = processor.save_pretrained(tmp_path / "saved")
    assert str(tmp_path / "saved" / "dvse.json") in files
    again = AutoProcessor.from_pretrained(tmp_path / "saved", threads=2)
    assert again.dvse.fingerprint == processor.dvse.fingerprint
    assert again.dvse.profile.threads == 2


def test_beside_a_model_the_bundle_gets_a_folder_of_its_own(text_bundle, tmp_path):
    """A checkpoint holds pickles (training_args.bin); they must not make its bundle unreadable."""
    model = tmp_path / "checkpoint-10"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "dvse"}))
    DvseProcessor.from_pretrained(text_bundle).save_pretrained(model)
    (model / "training_args.bin").write_bytes(b"\x80\x04.")
    assert Bundle.open(model / "bundle").name == "words"
    assert AutoProcessor.from_pretrained(model).dvse.name == "words"
    assert dvse.load(model).name == "words"


def test_push_to_hub_goes_through_the_tokenizer(text_bundle, tmp_path, monkeypatch):
    processor = DvseProcessor.from_pretrained(text_bundle)
    pushed = []
    monkeypatch.setattr(
        type(processor.dvse), "push_to_hub", lambda self, repo_id, **o: pushed.append((repo_id, o))
    )
    processor.push_to_hub("owner/one", private=True)
    processor.save_pretrained(tmp_path / "two", push_to_hub=True)
    processor.save_pretrained(tmp_path / "two", push_to_hub=True, repo_id="owner/three")
    assert pushed == [("owner/one", {"private": True}), ("two", {}), ("owner/three", {})]


def test_auto_processor_without_importing_dvse(text_bundle, tmp_path):
    """The bundle names the file that transformers may load with trust_remote_code."""
    program = (
        "from transformers import AutoProcessor\n"
        f"p = AutoProcessor.from_pretrained({str(text_bundle)!r}, trust_remote_code=True)\n"
        "print(type(p).__module__, p.batch_decode(p(text=['hello'])['input_ids']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(tmp_path / "hf"),
        },
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["dvse.processor", "['hello']"]
