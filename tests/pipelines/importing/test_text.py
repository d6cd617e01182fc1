"""Published text tokenizers as parts: the same ids, or a reason."""

import json

import pytest
import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from dvse.errors import BundleNotFoundError, ConfigError, WeightsFormatError
from dvse.storage.finding import find_bundle
from dvse.text.loading import load_text_tokenizer
from pipelines.cli import main
from pipelines.importing.text import import_text

LINES = ["one two three", "Ein Satz über Äpfel.", "一句话。"] * 20
TEXTS = ["one two", " zwei  Äpfel\n", "一 ▁ 😀"]


@pytest.fixture
def published(tmp_path):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|user|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tokenizer


def test_a_tokenizer_json(published, tmp_path, capsys):
    words = ["import", "text", str(tmp_path / "tokenizer.json"), "--licence", "MIT"]
    assert main([*words, "--output", str(tmp_path / "part")]) == 0
    assert f"{published.get_vocab_size()} ids, 2 special tokens" in capsys.readouterr().out
    part = import_text(tmp_path, tmp_path / "again")  # the directory that holds it
    assert part.spec == {"type": "hugging_face"}
    text = load_text_tokenizer(part.spec, part.folder)
    for one in TEXTS:
        assert text.encode(one).tolist() == published.encode(one).ids
        assert text.decode(text.encode(one)) == one
    assert text.special_tokens["<|user|>"] == published.token_to_id("<|user|>")


def test_a_sentencepiece_model(tmp_path):
    source = find_bundle("tiny") / "text" / "spiece.model"
    part = import_text(source, tmp_path / "part")
    text = load_text_tokenizer(part.spec, part.folder)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(source))
    assert text.encode("one two three").tolist() == theirs.encode("one two three")
    assert part.provenance["weights"]["file"] == "spiece.model"


def test_what_is_refused(published, tmp_path):
    with pytest.raises(BundleNotFoundError, match=r"tokenizer\.json or a SentencePiece"):
        import_text(tmp_path / "nowhere", tmp_path / "part")
    lossy = json.loads((tmp_path / "tokenizer.json").read_text())
    lossy["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "lossy.json").write_text(json.dumps(lossy))
    with pytest.raises(WeightsFormatError, match=r"lossy\.json"):
        import_text(tmp_path / "lossy.json", tmp_path / "part")
    data = (tmp_path / "tokenizer.json").read_bytes()
    for broken in (b"", b"{", data[: len(data) // 2], b"\xff" * 40, b"{}", b"[1]"):
        (tmp_path / "broken").write_bytes(broken)
        with pytest.raises(WeightsFormatError, match="broken"):
            import_text(tmp_path / "broken", tmp_path / "part")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match="new or empty"):
        import_text(tmp_path / "tokenizer.json", tmp_path / "full")
    assert not (tmp_path / "part").exists() and not list(tmp_path.glob(".part*"))
