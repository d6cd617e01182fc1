"""The text part of a bundle behind transformers' AutoTokenizer, judged against `dvse.Tokenizer`."""

import pickle

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import dvse
from dvse.errors import ConfigError, InputError
from dvse.pretrained_tokenizer import DvseTokenizer
from dvse.processor import DvseProcessor

TEXTS = ["hello", "a <|user|> b", "Ein  Satz.\n一句话。 ▁ <0x41> <think>", ""]
CHAT = [{"role": "user", "content": "What?"}]
ANSWERED = [*CHAT, {"role": "assistant", "content": "That."}]


@pytest.fixture(scope="module")
def front_door():
    return dvse.load("tiny", threads=1)


@pytest.fixture(scope="module")
def text() -> DvseTokenizer:
    return DvseTokenizer.from_pretrained("tiny")


def test_ids_are_the_front_doors_and_no_character_is_lost(text, front_door):
    for given in TEXTS[:3]:
        ids = text(given)["input_ids"]
        assert ids == front_door.encode(dvse.Text(given)).ids.tolist()
        assert text.decode(ids) == given
    assert text(TEXTS)["input_ids"][3] == []
    assert text.convert_tokens_to_string(text.tokenize("a  b")) == "a  b"


def test_batches_are_padded_on_the_left(text):
    batch = text(["a", "a b c d"], padding=True, return_tensors="pt")
    width = batch["input_ids"].shape[1]
    assert batch["input_ids"][0].tolist() == [8000] * (width - 1) + text("a")["input_ids"]
    assert batch["attention_mask"][0].tolist() == [0] * (width - 1) + [1]
    assert set(batch) == {"input_ids", "attention_mask"}


def test_every_id_has_a_name_of_its_own_and_markers_are_read_on_request(text, front_door):
    num_ids = front_door.vocabulary.num_ids
    assert len(text) == text.vocab_size == len(text.get_vocab()) == num_ids
    names = text.convert_ids_to_tokens(list(range(num_ids)))
    assert names == [front_door.name_of(i) for i in range(num_ids)]
    assert text.convert_tokens_to_ids(names) == list(range(num_ids))
    assert text("<|user|><|image_17|>", split_special_tokens=False)["input_ids"] == [
        front_door.vocabulary.special_id("<|user|>"),
        int(front_door.vocabulary.image_ids([17])[0]),
    ]


def test_special_tokens_are_skipped_on_request_and_thoughts_stay_apart(text, front_door):
    special = front_door.vocabulary.special_id
    ids = [special("<|assistant|>"), special("<think>"), *text("so")["input_ids"]]
    ids += [special("</think>"), *text("yes")["input_ids"], special("<|endoftext|>")]
    assert text.decode(ids, skip_special_tokens=True) == "<think>so</think>yes"
    assert text.decode(ids) == "<|assistant|><think>so</think>yes<|endoftext|>"
    unused = front_door.vocabulary.num_ids + 9
    assert text.decode([unused]) == f"<|unused_{unused}|>"
    assert text.batch_decode(torch.tensor([ids, ids]), skip_special_tokens=True)[1].endswith("yes")


def test_conversations_are_laid_out_as_by_the_front_door(text, front_door):
    expected = front_door.apply_chat_template(CHAT).input_ids
    chat = text.apply_chat_template(CHAT, add_generation_prompt=True, return_tensors="pt")
    assert torch.equal(chat["input_ids"], expected)
    printed = text.apply_chat_template(CHAT, add_generation_prompt=True, tokenize=False)
    assert text(printed, split_special_tokens=False)["input_ids"] == expected[0].tolist()
    ids = text.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    assert ids == expected[0].tolist()
    two = text.apply_chat_template([CHAT, ANSWERED], padding=True, return_tensors="np")
    assert isinstance(two["input_ids"], np.ndarray)
    assert two["attention_mask"][0, 0] == 0


def test_an_answer_can_be_gone_on_with_or_learnt(text):
    whole = text.apply_chat_template(ANSWERED, return_assistant_tokens_mask=True)
    begun = text.apply_chat_template(ANSWERED, continue_final_message=True)
    assert begun["input_ids"] == whole["input_ids"][:-1]
    mask = whole["assistant_masks"]
    learnt = [i for i, m in zip(whole["input_ids"], mask, strict=True) if m]
    assert text.decode(learnt) == "That.<|endoftext|>"
    with pytest.raises(InputError, match="expected the last message to be the assistant's"):
        text.apply_chat_template(CHAT, continue_final_message=True)


def test_what_it_does_not_know_is_refused(text):
    with pytest.raises(ConfigError, match="tools"):
        text.apply_chat_template(CHAT, tools=[{"name": "x"}])
    picture = {"role": "user", "content": [{"type": "image", "image": "cat.jpg"}]}
    with pytest.raises(InputError, match="by the processor"):
        text.apply_chat_template([picture])


def test_saved_and_opened_by_name(text, tmp_path):
    files = text.save_pretrained(tmp_path / "saved")
    assert str(tmp_path / "saved" / "dvse.json") in files
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert isinstance(again, DvseTokenizer)
    assert isinstance(again, PreTrainedTokenizerBase)
    assert again(TEXTS).data == text(TEXTS).data
    assert again.save_pretrained(tmp_path / "saved") == files  # over itself: nothing to do
    assert dvse.load(tmp_path / "saved").fingerprint == text.bundle.fingerprint
    assert pickle.loads(pickle.dumps(text))(TEXTS).data == text(TEXTS).data


def test_the_processor_has_one(front_door):
    processor = DvseProcessor(front_door)
    assert isinstance(processor.tokenizer, DvseTokenizer)
    assert (
        processor.tokenizer(TEXTS[1])["input_ids"]
        == processor(text=TEXTS[1])["input_ids"][0].tolist()
    )
    with pytest.raises(ConfigError, match="save or push the processor"):
        processor.tokenizer.save_pretrained("anywhere")
