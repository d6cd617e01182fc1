"""Guides: what each code says of its tile or digit, and a decoder that learns from it."""

import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch.nn import functional as F

import dvse
from dvse.storage.shard import read_shard, shard_name
from model import DvseForCausalLM, preset
from pipelines.cli import main
from pipelines.tiny.conversations.recording import Voices, record
from pipelines.tiny.conversations.scene import LABELS
from pipelines.tiny.guides import (
    FIRST_DIGIT,
    FIRST_NUMBER,
    NOTHING,
    NUM_PLACES,
    NUM_TOPICS,
    UNPLACED,
    UNTOLD,
    GuidedDecoder,
    answer_places,
    nothing_guides,
    picture_guides,
    recording_guides,
    write_guided,
)

WHOLE = NUM_PLACES + 1
SHAPE = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}


def test_guides_of_a_picture_by_hand():
    # 64x64 in patches of 8: a cat above left, a ship in the middle of the second row.
    guides = picture_guides((8, 8), [(0, 0, "cat"), (32, 16, "ship")], 8).reshape(8, 8)
    c, s, n, u = LABELS.index("cat"), LABELS.index("ship"), NOTHING, UNTOLD
    assert (guides // WHOLE).tolist() == [
        [u, u, u, u, n, n, n, n],
        [u, u, u, u, n, n, n, n],
        [c, c, c, c, n, n, n, n],
        [c, c, c, c, n, n, n, n],
        [n, n, u, u, u, u, n, n],
        [n, n, u, u, u, u, n, n],
        [n, n, s, s, s, s, n, n],
        [n, n, s, s, s, s, n, n],
    ]
    upper, lower = [0] * 4 + [1] * 4, [2] * 4 + [3] * 4
    assert (guides % WHOLE).tolist() == [upper] * 4 + [lower] * 4


def test_guides_of_a_recording_by_hand():
    # Ten units of 0.1 s; "two" from 0.1 to 0.3, "nine" from 0.5 to 0.9: middles at 0.2 and 0.7.
    guides = recording_guides(10, 1.0, [(0.1, 0.3, 2), (0.5, 0.9, 9)])
    two, nine = FIRST_DIGIT + 2, FIRST_DIGIT + 9
    assert (guides // WHOLE).tolist() == [UNTOLD] * 2 + [two] * 5 + [nine] * 3
    first, second = FIRST_NUMBER, FIRST_NUMBER + 1
    assert (guides % WHOLE).tolist() == [UNPLACED] * 2 + [first] * 5 + [second] * 3


def test_a_recording_says_where_its_digits_are():
    from pipelines.speech.clips import Clip
    from pipelines.speech.espeak import Span
    from pipelines.speech.word_lists import DIGIT_WORDS

    clips = [
        Clip(
            samples=np.full(800, 0.5, np.float32),
            words=(Span(start_s=0.0, label=word),),
        )
        for word in DIGIT_WORDS
    ]
    voices = Voices(recorded={"a": clips}, synthetic={}, cut={})
    for seed in range(10):
        found = record(voices, 3, np.random.default_rng(seed), augment=False)
        is_loud = np.abs(found.samples) > 0.2
        edges = np.flatnonzero(np.diff(np.concatenate([[0], is_loud, [0]]))).reshape(-1, 2)
        assert np.allclose(edges / 8000, found.spans_s)
        assert len(found.digits) == 3


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guided")
    Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(folder / "a.png")
    soundfile.write(folder / "a.wav", 0.1 * np.sin(np.arange(8000) / 5), 8000)
    picture, recording = {"type": "image", "image": "a.png"}, {"type": "audio", "audio": "a.wav"}
    words = {"type": "text", "text": "What?"}
    asked = (([words], "no"), ([picture, words], "a cat left of a dog"), ([recording, words], "七"))
    lines = [
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": content},
                    {"role": "assistant", "content": answer},
                ]
            }
        )
        for content, answer in asked
    ]
    (folder / "chat.jsonl").write_text("\n".join(lines) + "\n")
    shown = [
        None,
        {"size": [32, 64], "tiles": [[0, 0, "cat"], [0, 32, "dog"]]},
        {"duration_s": 1.0, "digits": [[0.2, 0.8, 7]]},
    ]
    (folder / "shown.jsonl").write_text("".join(json.dumps(line) + "\n" for line in shown))
    options = ["--output", str(folder / "tokens"), "--workers", "0"]
    assert main(["tokenize", str(folder / "chat.jsonl"), *options]) == 0
    tokenizer = dvse.load("tiny")
    write_guided(folder / "tokens", folder / "shown.jsonl", folder / "out", tokenizer)
    return [read_shard(folder / name / shard_name(0)) for name in ("tokens", "out")], tokenizer


def test_ids_carry_the_guides_of_what_they_show(guided):
    (plain, found), tokenizer = guided
    vocabulary = tokenizer.vocabulary
    for one, other in zip(plain.to_pylist(), found.to_pylist(), strict=True):
        ids, carried = np.array(one["ids"]), np.array(other["ids"])
        assert np.array_equal(carried % vocabulary.size, ids)
        assert one["loss_mask"] == other["loss_mask"]
        guides = carried // vocabulary.size - 1
        answer = np.flatnonzero(one["loss_mask"] & (ids < vocabulary.text_size))
        told = guides[answer - 1]
        codes = guides[(guides >= 0) & (guides < WHOLE * UNTOLD)]
        number = other["id"].rpartition(":")[2]
        if number == "1":
            assert (guides == -1).all()
        elif number == "2":
            expected = picture_guides((8, 16), [(0, 0, "cat"), (0, 32, "dog")], 4)
            codes = np.arange(vocabulary.num_codes("image"))
            is_code = np.isin(ids, vocabulary.code_ids("image", codes))
            assert np.array_equal(guides[is_code], expected)
            # To the end of "cat" the answer is about the first quarter, then about the second.
            texts = [tokenizer.text.decode(ids[answer[: n + 1]].tolist()) for n in range(len(told))]
            places = [WHOLE * UNTOLD + (0 if "cat" not in t else 1) for t in ["", *texts[:-1]]]
            assert told.tolist() == places
        else:
            assert set(codes.tolist()) == {WHOLE * (FIRST_DIGIT + 7) + FIRST_NUMBER}
            assert set(told.tolist()) == {WHOLE * UNTOLD + FIRST_NUMBER}


def test_what_an_answer_is_about_to_name():
    texts = ["on", "one", "one ", "one one", "one one."]
    assert answer_places(texts, ["one", "one"]) == [0, 0, 1, 1]
    assert answer_places(texts, ["one", "two"]) is None
    assert answer_places(["4"], ["cat"]) is None


def decoder():
    torch.manual_seed(0)
    return GuidedDecoder(preset("tiny", **SHAPE)).train()


def test_the_loss_of_guides_is_added_where_there_are_any():
    model = decoder()
    ids = torch.randint(0, 50, (1, 12))
    labels = torch.where(torch.arange(12) > 8, ids, -100)
    plain = model(ids, labels=labels, logits_to_keep="labelled").loss
    seen = []
    model.model.layers[-1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    carried = ids.clone()
    # A cat above right; something below left whose class cannot be known yet.
    carried[0, 3:5] += 50 * (1 + torch.tensor([WHOLE * 3 + 1, WHOLE * UNTOLD + 2]))
    guided = model(carried, labels=labels, logits_to_keep="labelled").loss
    scores = model.guide_head(model.model.norm(seen[0][0, 3:5]))
    expected = F.cross_entropy(scores[:1, :NUM_TOPICS], torch.tensor([3]))
    expected = expected + F.cross_entropy(scores[:, NUM_TOPICS:], torch.tensor([1, 2]))
    assert torch.allclose(guided, plain + 0.5 * expected, atol=1e-5)


def test_without_its_guides_it_is_a_plain_decoder():
    model = decoder()
    ids = torch.randint(0, 50, (2, 7))
    plain = model.plain()
    assert type(plain) is DvseForCausalLM
    assert torch.equal(plain.eval()(ids).logits, model.eval()(ids).logits)
    assert plain.lm_head.weight is plain.model.embed_tokens.weight


def test_what_shows_nothing_known_says_so_once_some_of_it_is_seen():
    guides = nothing_guides(16)
    assert (guides // WHOLE).tolist() == [UNTOLD] * 6 + [NOTHING] * 10
    assert set(guides % WHOLE) == {UNPLACED}
