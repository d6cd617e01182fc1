"""SentencePiece without loss: any string comes back, ids stay in range, lossy models fail."""

import io

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from dvse.errors import (
    BundleFormatError,
    ConfigError,
    DecodeError,
    IdRangeError,
    TrainingError,
)
from dvse.text.loading import load_text_tokenizer
from dvse.text.sentencepiece import SentencePieceText

AWKWARD = [
    "",
    " ",
    "   ",
    "▁",
    "▁▁ ▁",
    " leading and trailing  ",
    "two  spaces\t\ttabs\n\nlines",
    "\r\n windows \r\n",
    "\x00",
    "a\x00b\x00",
    "\ufeffbyte order mark",
    "<|begin_of_image|><|end_of_image|>",
    "<|image_17|><|endoftext|>[gMASK]<sop>",
    "<unk> <s> </s> <pad>",
    "<0x41><0x00>",
    "😀👩‍👩‍👧‍👦🇩🇪",
    "ﬁ ﬀ ① Å Å é é",
    "三\u3000个\u2028行\u2029\x85",
    "\U0010ffff\ufffd\ufffe",
    "A" * 5000,
    "\u202eright to left\u202c עברית",
]


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_strings_come_back(text_model, text):
    ids = text_model.encode(text)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert text_model.decode(ids) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_string_comes_back(text_model, text):
    ids = text_model.encode(text)
    assert text_model.decode(ids) == text
    assert ((ids >= 0) & (ids < text_model.size)).all()
    assert (ids == text_model.encode(text)).all()


@given(st.lists(st.sampled_from([*AWKWARD[:-2], "the", "▁the", " the", "一", "0x41"])))
def test_any_mixture_of_awkward_strings_comes_back(text_model, parts):
    text = "".join(parts)
    assert text_model.decode(text_model.encode(text)) == text


def test_the_empty_string_has_no_ids(text_model):
    assert text_model.encode("").tolist() == []
    assert text_model.decode([]) == ""


def test_a_space_is_cheap_and_its_stand_in_costs_three_bytes(text_model):
    assert len(text_model.encode("▁")) == 3
    assert [text_model.piece(i) for i in text_model.encode("▁")] == ["<0xE2>", "<0x96>", "<0x81>"]
    assert text_model.piece(text_model.encode(" the")[0]).startswith("▁")


def test_ids_are_sentencepieces_own(text_model, tmp_path):
    """For text without ▁ the ids are those of the library on the saved file."""
    text_model.save_files(tmp_path)
    library = sentencepiece.SentencePieceProcessor(str(tmp_path / "spiece.model"))
    for text in ("the quick brown fox", " a  b ", "今天天气很好", "naïve ☃"):
        assert text_model.encode(text).tolist() == library.EncodeAsIds(text)


def test_no_piece_is_special(text_model):
    assert text_model.special_tokens == {}


def test_bytes_that_are_no_utf8_become_replacement_characters(text_model):
    lead = text_model.encode("▁")[:1]
    assert text_model.decode(lead) == "\ufffd"


def test_a_lone_surrogate_is_refused(text_model):
    with pytest.raises(DecodeError, match=r"lone surrogate '\\ud800' at position 2"):
        text_model.encode("ab\ud800")


@pytest.mark.parametrize("ids", [[-1], [340], [0, 10**9]])
def test_ids_outside_are_refused(text_model, ids):
    with pytest.raises(IdRangeError, match=r"expected text ids in 0\.\.339"):
        text_model.decode(ids)
    with pytest.raises(IdRangeError):
        text_model.piece(ids[-1])


def test_saved_and_loaded_it_is_the_same(text_model, tmp_path):
    text_model.save_files(tmp_path)
    again = load_text_tokenizer(text_model.spec(), tmp_path)
    text = "One 三 ▁ two"
    assert again.encode(text).tolist() == text_model.encode(text).tolist()
    assert again.size == text_model.size == 340
    (tmp_path / "b").mkdir()
    again.save_files(tmp_path / "b")
    one, two = (tmp_path / name / "spiece.model" for name in (".", "b"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_training_is_lossless_and_deterministic(model_type):
    lines = ["the cat sat on the mat", " indented  text", "一二三 四五六"] * 20
    one, two = (
        SentencePieceText.train(iter(lines), vocab_size=280, model_type=model_type)
        for _ in range(2)
    )
    assert one.encode(" the ▁ 七").tolist() == two.encode(" the ▁ 七").tolist()
    assert one.decode(one.encode(" the ▁ 七")) == " the ▁ 七"


@pytest.mark.parametrize(
    ("lines", "options", "error", "message"),
    [
        ([], {"vocab_size": 300}, TrainingError, "give more text"),
        (["", " "], {"vocab_size": 300}, TrainingError, "give more text"),
        (["a b"], {"vocab_size": 4000}, TrainingError, r"is enough for \d+; ask"),
        (
            ["abcdefghijkl"] * 9,
            {"vocab_size": 262},
            TrainingError,
            "raise it, or lower character_coverage",
        ),
        (["a b"], {"vocab_size": 100}, ConfigError, "at least 260"),
        (["a b"], {"vocab_size": 300, "model_type": "word"}, ConfigError, "'unigram' or 'bpe'"),
    ],
)
def test_training_that_cannot_work(lines, options, error, message):
    with pytest.raises(error, match=message):
        SentencePieceText.train(lines, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"byte_fallback": False},
        {"normalization_rule_name": "nmt_nfkc_cf"},
        {"add_dummy_prefix": True},
        {"remove_extra_whitespaces": True},
    ],
)
def test_models_that_lose_characters_are_refused(options):
    settings = {
        "vocab_size": 290,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "hard_vocab_limit": False,
        "minloglevel": 2,
    }
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(["the cat sat on the mat with Hats"] * 50),
        model_writer=model,
        **(settings | options),
    )
    with pytest.raises(BundleFormatError, match=r"spiece\.model: expected"):
        SentencePieceText(model.getvalue())


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x04."])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "spiece.model").write_bytes(content)
    with pytest.raises(BundleFormatError, match=r"spiece\.model"):
        SentencePieceText.load(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BundleFormatError, match=r"text/spiece\.model: cannot be read"):
        SentencePieceText.load(tmp_path)


@pytest.mark.parametrize("spec", [{}, {"type": "tiktoken"}, {"type": "sentencepiece", "x": 1}])
def test_unknown_specs_are_refused(spec, tmp_path):
    with pytest.raises(BundleFormatError, match="expected the spec"):
        load_text_tokenizer(spec, tmp_path)
