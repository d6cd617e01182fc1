"""`dvse train text`: from files to a part, with figures from lines that were held out."""

import gzip
import hashlib
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dvse.errors import ConfigError, MissingFileError, TrainingError
from dvse.storage.part import Part
from dvse.text.sentencepiece import SentencePieceText
from pipelines.cli import main
from pipelines.training.text.lines import read_lines, text_files, text_sources
from pipelines.training.text.recipe import train_text
from pipelines.training.text.settings import TextRecipe

WORDS = [*"abcdefghijklmn", "quick brown", "lazy", "judges", "watch", "今天", "天气", "很好"]
LINES = [" ".join(WORDS[(n * k) % len(WORDS)] for k in range(1, 12)) for n in range(120)]


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text("\n".join(LINES), encoding="utf-8")
    with gzip.open(folder / "more" / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(reversed(LINES)))
    pq.write_table(pa.table({"text": [LINES[0], None, "x\ny"]}), folder / "c.parquet")
    (folder / "picture.jpg").write_bytes(b"\xff\xd8")
    return folder


# --- lines -----------------------------------------------------------------------------------


def test_folders_are_searched_in_a_fixed_order(corpus):
    names = [p.relative_to(corpus).as_posix() for p in text_files([corpus])]
    assert names == ["a.txt", "c.parquet", "more/b.txt.gz"]
    assert text_files([corpus / "a.txt", corpus / "more"])[1].name == "b.txt.gz"


def test_suffixes_are_known_in_any_case(tmp_path):
    (tmp_path / "README.TXT").write_text("one\n")
    with gzip.open(tmp_path / "B.GZ", "wt") as file:
        file.write("two\n")
    assert [list(read_lines(p)) for p in text_files([tmp_path])] == [["two"], ["one"]]


def test_lines_come_without_their_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("one \r\n\n 二\nlast".encode())
    assert list(read_lines(path)) == ["one ", "", " 二", "last"]


def test_parquet_rows_are_split_into_lines(corpus):
    assert list(read_lines(corpus / "c.parquet")) == [LINES[0], "x", "y"]


def test_paths_that_hold_no_text(tmp_path, corpus):
    with pytest.raises(MissingFileError, match="nowhere: no such file"):
        text_files([tmp_path / "nowhere"])
    with pytest.raises(TrainingError, match=r"picture\.jpg: expected one of"):
        text_files([corpus / "picture.jpg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="empty: expected a folder with files that end in"):
        text_files([tmp_path / "empty"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"\xff\xfe\x00"),
        ("a.gz", b"not gzip"),
        ("a.gz", gzip.compress(b"hello" * 100, mtime=0)[:-12]),
        ("a.gz", gzip.compress(b"hello" * 100, mtime=0)[:12] + b"\xff" * 30),
        ("a.parquet", b"not parquet"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=f"{path.name}: expected"):
        list(read_lines(path))


def test_a_parquet_file_without_text(tmp_path):
    pq.write_table(pa.table({"words": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(TrainingError, match=r"expected a column 'text', received \['words'\]"):
        list(read_lines(tmp_path / "a.parquet"))


# --- training --------------------------------------------------------------------------------


def recipe_of(data, **settings) -> TextRecipe:
    return TextRecipe(data=(str(data),), vocab_size=310, **settings)


def test_a_part_that_loads_and_loses_nothing(corpus, tmp_path):
    part = train_text(recipe_of(corpus), tmp_path / "part")
    assert Part.load(tmp_path / "part", modality="text") == part
    model = SentencePieceText.load(tmp_path / "part")
    assert model.size == 310
    assert all(model.decode(model.encode(line)) == line for line in LINES)
    assert part.spec == {"type": "sentencepiece"}


def test_figures_by_hand(corpus, tmp_path):
    part = train_text(recipe_of(corpus / "a.txt"), tmp_path / "part")
    model = SentencePieceText.load(tmp_path / "part")
    held_out = LINES[::50]
    num_bytes = sum(len(line.encode()) for line in held_out)
    num_tokens = sum(len(model.encode(line)) for line in held_out)
    assert part.metrics["files"]["a.txt"] == {
        "bytes": num_bytes,
        "bytes_per_token": round(num_bytes / num_tokens, 3),
        "round_trip_failures": 0,
    }


def test_held_out_lines_are_not_trained_on(tmp_path):
    """A character that stands only on held-out lines gets no piece."""
    lines = ["龘龘龘龘" if n % 50 == 0 else LINES[n % 120] for n in range(500)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    train_text(recipe_of(tmp_path / "a.txt", character_coverage=1.0), tmp_path / "part")
    assert len(SentencePieceText.load(tmp_path / "part").encode("龘")) == 3


def test_where_it_came_from_is_recorded_without_paths(corpus, tmp_path):
    part = train_text(recipe_of(corpus), tmp_path / "part")
    recorded = {entry["name"]: entry["sha256"] for entry in part.provenance["data"]}
    content = (corpus / "a.txt").read_bytes()
    assert recorded["a.txt"] == hashlib.sha256(content).hexdigest()
    assert str(tmp_path) not in (tmp_path / "part" / "part.json").read_text()


def test_files_of_one_name_are_told_apart(tmp_path):
    for folder in ("en", "zh"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "book.txt").write_text("\n".join(LINES), encoding="utf-8")
    part = train_text(recipe_of(tmp_path), tmp_path / "part")
    assert list(part.metrics["files"]) == ["en/book.txt", "zh/book.txt"]


def test_the_same_files_give_the_same_model(corpus, tmp_path):
    for name in ("one", "two"):
        train_text(recipe_of(corpus), tmp_path / name)
    one, two = ((tmp_path / name / "spiece.model").read_bytes() for name in ("one", "two"))
    assert one == two


def test_the_command(corpus, tmp_path, capsys):
    output = str(tmp_path / "part")
    words = ["--data", str(corpus / "a.txt"), "--vocab-size", "310", "--output", output]
    assert main(["train", "text", *words]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"310 pieces in {output}")
    assert "a.txt: " in out
    assert "0 round-trip failures" in out
    assert main(["train", "text", "--data", str(tmp_path / "none"), "--output", output]) == 1
    assert capsys.readouterr().err.startswith("dvse train text: ")


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_a_data_set_is_read_like_files(tmp_path, corpus, streaming, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = [{"text": f"{n} {LINES[n]}\n{LINES[n]} {n}"} for n in range(100)] + [{"text": None}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    address = f"hf:json?data_files={tmp_path / 'rows.jsonl'}&streaming={streaming}"
    (source,) = text_sources([address])
    lines = list(source.lines())
    assert len(lines) == 200 and lines[1] == f"{LINES[0]} 0"
    (tmp_path / "same.txt").write_text("\n".join(lines) + "\n")
    ours = train_text(recipe_of(address), tmp_path / "ours")
    theirs = train_text(recipe_of(tmp_path / "same.txt"), tmp_path / "theirs")
    models = [(part.folder / "spiece.model").read_bytes() for part in (ours, theirs)]
    assert models[0] == models[1]
    assert ours.metrics["files"]["json"] == theirs.metrics["files"]["same.txt"]
    assert str(tmp_path) not in json.dumps(dict(ours.provenance))


def test_data_sets_without_text(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "rows.jsonl").write_text('{"words": "none"}')
    with pytest.raises(TrainingError, match="expected a column 'text', received"):
        address = f"hf:json?data_files={tmp_path / 'rows.jsonl'}"
        train_text(recipe_of(address), tmp_path / "x")
    with pytest.raises(TrainingError, match="cannot be read"):
        train_text(recipe_of(f"hf:{tmp_path / 'absent'}"), tmp_path / "x")
    with pytest.raises(ConfigError, match="unknown options"):
        train_text(recipe_of("hf:json?colour=red"), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_full_disk_leaves_no_part(corpus, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.training.text.recipe.SentencePieceText.save_files", full)
    with pytest.raises(TrainingError, match="No space left"):
        train_text(recipe_of(corpus), tmp_path / "part")
    assert not (tmp_path / "part" / "part.json").exists()


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("hello world\n" * 9, {"vocab_size": 8000}, r"enough for 26\d; ask for a vocab_size of at"),
        ("a\na\na\n", {"vocab_size": 300}, r"is enough for 258; give more text$"),
        ("one line", {}, "at least two lines of text, for the first and every 50th"),
        (" \n\n", {}, "no other line that is not blank"),
        (
            "abc 一二三四五六七八九十\n" * 90,
            {"vocab_size": 260},
            r"at least 27\d, for the 256 bytes",
        ),
    ],
)
def test_a_small_corpus_is_refused_in_our_terms(content, settings, message, tmp_path):
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    recipe = TextRecipe(data=(str(tmp_path / "a.txt"),), **{"vocab_size": 300, **settings})
    with pytest.raises(TrainingError, match=message) as caught:
        train_text(recipe, tmp_path / "part")
    assert "INTERNAL" not in str(caught.value)
    assert not (tmp_path / "part").exists()


def test_the_number_that_is_named_works(tmp_path):
    (tmp_path / "a.txt").write_text("hello world\n" * 9, encoding="utf-8")
    with pytest.raises(TrainingError) as caught:
        train_text(TextRecipe(data=(str(tmp_path / "a.txt"),)), tmp_path / "part")
    most = int(re.search(r"at most (\d+)", str(caught.value))[1])
    recipe = TextRecipe(data=(str(tmp_path / "a.txt"),), vocab_size=most)
    train_text(recipe, tmp_path / "part")
    assert SentencePieceText.load(tmp_path / "part").size == most


def test_an_empty_folder_and_a_missing_split_are_named(corpus, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    recipe = TextRecipe(data=(str(corpus), str(empty)))  # beside a full one, too
    with pytest.raises(TrainingError, match=r"empty: expected a folder with files that end in"):
        train_text(recipe, tmp_path / "part")
    (tmp_path / "rows.csv").write_text("text\nhello\n")
    for more in ("", "&streaming=true"):
        address = f"hf:csv?data_files={tmp_path / 'rows.csv'}&split=validation{more}"
        with pytest.raises(ConfigError, match=r"one of \['train'\], received 'validation'"):
            train_text(TextRecipe(data=(address,)), tmp_path / "part")
