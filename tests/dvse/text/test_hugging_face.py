"""A GLM-like tokenizer.json: its ids are kept, no special is read out of text, nothing is lost."""

import json

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers

from dvse.encoding import SpecialSegment, TextSegment
from dvse.errors import BundleFormatError, DecodeError, IdRangeError
from dvse.items import Special, Text
from dvse.text.hugging_face import HuggingFaceText
from dvse.text.loading import load_text_tokenizer
from dvse.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def model(glm_document) -> HuggingFaceText:
    return HuggingFaceText(glm_document)


@pytest.fixture(scope="module")
def library(glm_document) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(glm_document)


SPELLED = ["<|begin_of_image|>", "[gMASK]<sop>", "<|endoftext|>", "<|user|>\n hi", "<think>"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_string_comes_back(model, text):
    assert model.decode(model.encode(text)) == text


@pytest.mark.parametrize("text", SPELLED)
def test_text_that_spells_a_special_stays_text(model, library, text):
    ids = model.encode(text)
    assert model.decode(ids) == text
    assert not set(ids.tolist()) & set(model.special_tokens.values())
    # The library itself would have read the special: the test is not empty.
    assert set(library.encode(text).ids) & set(model.special_tokens.values())


@given(st.lists(st.sampled_from([*SPELLED, "<tool_call>", " ", "the", "一"])))
def test_any_mixture_comes_back(model, parts):
    text = "".join(parts)
    ids = model.encode(text)
    assert model.decode(ids) == text
    assert not set(ids.tolist()) & set(model.special_tokens.values())


def test_specials_keep_the_ids_of_the_file(model, library):
    assert model.special_tokens["<|endoftext|>"] == 300
    for name, token_id in model.special_tokens.items():
        assert library.token_to_id(name) == token_id
    # <think> is declared as ordinary text in the file, but DVSE uses it as a special;
    # <tool_call> is nothing to DVSE and stays what the file says: text.
    assert "<think>" in model.special_tokens
    assert "<tool_call>" not in model.special_tokens


def test_ordinary_text_has_the_ids_of_the_library(model, library):
    for text in ("the quick brown fox", " a  b", "今天", "call <tool_call> now"):
        assert model.encode(text).tolist() == library.encode(text, add_special_tokens=False).ids
    assert library.token_to_id("<tool_call>") in model.encode("call <tool_call> now")


def test_size_and_pieces(model):
    assert model.size == 312
    assert model.piece(300) == "<|endoftext|>"
    assert model.piece(int(model.encode(" the")[0])).startswith("Ġ")
    assert model.decode([model.special_tokens["[MASK]"]]) == "[MASK]"


@pytest.mark.parametrize("token_id", [-1, 312])
def test_ids_outside_are_refused(model, token_id):
    with pytest.raises(IdRangeError, match=r"0\.\.311"):
        model.decode([token_id])
    with pytest.raises(IdRangeError, match=r"0\.\.311"):
        model.piece(token_id)


def test_a_lone_surrogate_is_refused(model):
    with pytest.raises(DecodeError, match="surrogate"):
        model.encode("\udc80")


def test_saved_and_loaded_it_is_the_same(model, glm_document, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(glm_document.replace("\n", "\r\n").encode())
    one = load_text_tokenizer({"type": "hugging_face"}, tmp_path)
    (tmp_path / "b").mkdir()
    one.save_files(tmp_path / "b")
    saved = (tmp_path / "b" / "tokenizer.json").read_bytes()
    assert saved == (tmp_path / "tokenizer.json").read_bytes()
    assert one.encode("the 三").tolist() == model.encode("the 三").tolist()
    assert one.spec() == {"type": "hugging_face"}


def test_in_the_vocabulary_only_missing_specials_take_reserved_ids(model):
    v = Vocabulary.create(text_size=model.size, text_specials=model.special_tokens, image=(4, 1))
    for name, token_id in model.special_tokens.items():
        assert v.special_tokens[name] == token_id
    reserved = {n: i for n, i in v.special_tokens.items() if i >= model.size}
    assert list(reserved)[:3] == ["</think>", "<|begin_of_audio|>", "<|end_of_audio|>"]
    assert min(reserved.values()) == 312
    assert v.image_ids(0) == 312 + 256


def test_through_the_front_door(model, fakes):
    tokenizer = fakes.build(text=model, image=fakes.Image(fixed_grid=(1, 1)))
    row = [Special("<|user|>"), Text("say <|user|> [MASK]"), Special("[MASK]"), Text("end")]
    encoding = tokenizer.encode(row)
    assert encoding.ids[0] == model.special_tokens["<|user|>"]
    assert tokenizer.decode(encoding.ids) == [
        SpecialSegment(name="<|user|>"),
        TextSegment(text="say <|user|> [MASK]"),
        SpecialSegment(name="[MASK]"),
        TextSegment(text="end"),
    ]
    assert tokenizer.vocabulary.pad_id == 300
    assert tokenizer.name_of(300) == "<|endoftext|>"


def byte_level(**parts) -> tokenizers.Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = parts.get("before", pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.decoder = decoders.ByteLevel()
    if "normalizer" in parts:
        tokenizer.normalizer = parts["normalizer"]
    return tokenizer


def test_nfc_is_left_out_so_that_accents_come_back_as_they_were():
    model = HuggingFaceText(byte_level(normalizer=normalizers.NFC()).to_str())
    assert model.decode(model.encode("e\u0301 é")) == "e\u0301 é"


@pytest.mark.parametrize(
    "tokenizer",
    [
        byte_level(normalizer=normalizers.Lowercase()),
        byte_level(normalizer=normalizers.NFKC()),
        byte_level(normalizer=normalizers.Strip()),
        byte_level(before=pre_tokenizers.ByteLevel(add_prefix_space=True)),
        tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]")),
    ],
)
def test_tokenizers_that_lose_characters_are_refused(tokenizer):
    with pytest.raises(BundleFormatError, match="loses no character"):
        HuggingFaceText(tokenizer.to_str())


def test_a_word_list_that_spells_a_special_is_refused():
    words = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    words["<|user|>"] = len(words)
    tokenizer = tokenizers.Tokenizer(models.BPE(words, [], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|user|>"])
    with pytest.raises(BundleFormatError, match="never to be read out of text"):
        HuggingFaceText(tokenizer.to_str())


@pytest.mark.parametrize(
    "document", ["", "{", "[]", "{}", json.dumps({"added_tokens": [{"content": "a"}]})]
)
def test_other_documents_are_refused(document):
    with pytest.raises(BundleFormatError, match=r"tokenizer\.json: expected a Hugging Face"):
        HuggingFaceText(document)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(BundleFormatError, match=r"text/tokenizer\.json: cannot be read"):
        HuggingFaceText.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BundleFormatError, match=r"text/tokenizer\.json: cannot be read"):
        HuggingFaceText.load(tmp_path)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_bytes_of_pieces_add_up_to_the_text(model, text):
    assert b"".join(model.piece_bytes(i) for i in model.encode(text).tolist()) == text.encode()


def test_bytes_of_a_tokenizer_with_byte_fallback():
    vocabulary = {"<unk>": 0, "a": 1, " ": 2, **{f"<0x{n:02X}>": 3 + n for n in range(256)}}
    library = tokenizers.Tokenizer(
        models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True)
    )
    library.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    model = HuggingFaceText(library.to_str())
    assert [model.piece_bytes(i) for i in model.encode("a 猫").tolist()] == [
        *(b"a", b" ", b"\xe7", b"\x8c", b"\xab")
    ]


def test_dropped_merges_are_not_taken_over(glm_document, model):
    """A file may say that merges are left out by chance, as in training; ids would differ then."""
    document = json.loads(glm_document)
    document["model"]["dropout"] = 0.9
    text = "the same words, the same ids " * 20
    library = tokenizers.Tokenizer.from_str(json.dumps(document))
    assert library.encode(text).ids != library.encode(text).ids
    assert (HuggingFaceText(json.dumps(document)).encode(text) == model.encode(text)).all()


def test_an_id_that_no_embedding_has_a_row_for(glm_document):
    document = json.loads(glm_document)
    document["model"]["vocab"]["far away"] = 2**31
    with pytest.raises(BundleFormatError, match="ids below 16,777,216, received 2,147,483,648"):
        HuggingFaceText(json.dumps(document))
