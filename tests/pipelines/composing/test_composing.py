"""Composed rows: ids and loss masks written out by hand, provenance, the same bytes, refusals."""

import hashlib
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import dvse
from dvse.errors import ConfigError, ResumeError
from dvse.storage.shard import (
    ShardMetadata,
    find_shards,
    read_shard,
    shard_name,
    shard_schema,
    write_shard,
)
from pipelines.cli import main
from pipelines.composing.composing import compose
from pipelines.composing.recipe import read_recipe
from pipelines.job.row_check import check_row

RECIPE = r"""
[tasks]
transcribe = "<|reserved_200|>"

[rows.transcripts]
prompt = "{audio}{transcribe}"
answer = "{text}"

[rows.descriptions]
system = "Be brief."
user = "{image}What is this?"
assistant = "{text}"

[rows.questions]
table = "questions.csv"
user = "{image}{question}"
assistant = "{answer}"
together = true

[rows.each_question]
table = "questions.csv"
user = "{image}{question}"
assistant = "{answer}"

[rows.album]
document = "{image}{text}\n"
join = 2

[rows.continuation]
document = "{audio}"

[rows.read_along]
interleave = "word"
alignments = "words.jsonl"
turns = [1, 2]
"""

QUESTIONS = 'id,question,answer\ncat.png,What is it?,a cat\ncat.png,"How, many?",one\n'
WORDS = [
    {"word": "one", "start": 0.1, "end": 0.2},
    {"word": "two", "start": 0.4, "end": 0.5},
    {"word": "three", "start": 0.8, "end": 0.9},
]


@pytest.fixture(scope="module")
def tokenizer():
    return dvse.load("tiny", threads=1)


class Ids:
    """Ids by hand, from the vocabulary's names."""

    def __init__(self, tokenizer):
        self.v, self.text = tokenizer.vocabulary, tokenizer.text

    def special(self, name):
        return [self.v.special_tokens[name]]

    def image(self, codes):
        begin, end = self.special("<|begin_of_image|>"), self.special("<|end_of_image|>")
        sides = self.special("<|grid_1|>") + self.special(f"<|grid_{len(codes)}|>")
        return [*begin, *sides, *self.v.image_ids(codes).tolist(), *end]

    def audio(self, codes):
        begin, end = self.special("<|begin_of_audio|>"), self.special("<|end_of_audio|>")
        return [*begin, *self.v.audio_ids(codes).tolist(), *end]

    def words(self, text):
        return self.text.encode(text).tolist()


@pytest.fixture(scope="module")
def ids(tokenizer):
    return Ids(tokenizer)


def image_row(ids, id, codes, text):
    return row(
        id, ids.image(codes), "image", grid_h=1, grid_w=len(codes), text=text, sha256=sha(id)
    )


def audio_row(ids, id, codes, text, durations=None):
    seconds = (sum(durations) if durations else len(codes)) / 10
    return row(
        id,
        ids.audio(codes),
        "audio",
        duration_s=seconds,
        frame_rate_hz=10.0,
        durations=durations,
        text=text,
        sha256=sha(id),
    )


def row(id, ids, modality, **fields):
    empty = dict.fromkeys(shard_schema("uint16").names)
    made = {"id": id, "ids": ids, "modality": modality, "num_levels": 1, "source": f"/in/{id}"}
    return empty | made | fields


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(scope="module")
def tokens(tokenizer, ids, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    shards = [
        [
            image_row(ids, "cat.png", [3, 4], " a cat\n"),
            image_row(ids, "dog.png", [5, 6, 7], "a dog"),
            audio_row(ids, "said.wav", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "one two three"),
            row("plain.txt", ids.words("some words"), "text"),
        ],
        [
            image_row(ids, "ox.png", [8], "an ox"),
            image_row(ids, "blank.png", [9], None),
            audio_row(ids, "merged.wav", [1, 2, 3], None, durations=[3, 4, 3]),
        ],
    ]
    metadata = ShardMetadata.of(tokenizer).to_schema_metadata()
    for number, rows in enumerate(shards):
        path = folder / shard_name(number)
        write_shard(path, rows, schema=shard_schema("uint16"), metadata=metadata)
    return folder


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path)


def write_recipe(folder, text=RECIPE):
    (folder / "questions.csv").write_text(QUESTIONS)
    lines = [{"id": "said", "words": WORDS}, {"id": "merged.wav", "words": WORDS}]
    (folder / "words.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def composed(tokens, output, recipe, tokenizer, **options):
    compose([tokens], output, read_recipe(recipe), tokenizer, **options)
    rows = [r for p in sorted(output.glob("shard-*.parquet")) for r in read_shard(p).to_pylist()]
    return {row["id"]: row for row in rows}


def test_ids_and_masks_are_those_written_by_hand(tokens, recipe, tokenizer, ids, tmp_path):
    rows = composed(tokens, tmp_path / "out", recipe, tokenizer)
    task = [tokenizer.vocabulary.blocks[1].first_id + 200]
    end = ids.special("<|endoftext|>")

    def check(name, *parts):
        expected = [i for part, _ in parts for i in part]
        mask = [learnt for part, learnt in parts for _ in part]
        assert rows[name]["ids"] == expected
        assert rows[name]["loss_mask"] == (None if all(mask) else mask)
        assert rows[name]["modality"] == "mixed"

    check(
        "transcripts/said.wav",
        (ids.audio(range(1, 11)) + task, False),
        (ids.words("one two three") + end, True),
    )
    head = ids.special("[gMASK]") + ids.special("<sop>")
    closed = ids.special("<think>") + ids.special("</think>")
    user, assistant = ids.special("<|user|>"), ids.special("<|assistant|>")
    check(
        "descriptions/dog.png",
        (head + ids.special("<|system|>") + ids.words("\nBe brief."), False),
        (user + ids.words("\n") + ids.image([5, 6, 7]) + ids.words("What is this?"), False),
        (assistant + ids.words("\n") + closed, False),
        (ids.words("a dog") + end, True),
    )
    # The next turn's <|user|> is where a decoder stops, so it is learnt.
    check(
        "questions/cat.png",
        (head + user + ids.words("\n") + ids.image([3, 4]) + ids.words("What is it?"), False),
        (assistant + ids.words("\n") + closed, False),
        (ids.words("a cat") + user, True),
        (ids.words("\nHow, many?") + assistant + ids.words("\n") + closed, False),
        (ids.words("one") + end, True),
    )
    check(
        "each_question/cat.png#1",
        (head + user + ids.words("\n") + ids.image([3, 4]) + ids.words("How, many?"), False),
        (assistant + ids.words("\n") + closed, False),
        (ids.words("one") + end, True),
    )
    check(
        "album/cat.png",
        (ids.image([3, 4]) + ids.words("a cat\n"), True),
        (ids.image([5, 6, 7]) + ids.words("a dog\n"), True),
    )
    check("album/ox.png", (ids.image([8]) + ids.words("an ox\n"), True))
    alone = rows["continuation/merged.wav"]
    assert (alone["ids"], alone["durations"]) == (ids.audio([1, 2, 3]), [3, 4, 3])
    assert (alone["modality"], alone["loss_mask"]) == ("audio", None)
    for row in rows.values():
        assert check_row(row, tokenizer.grammar) == []


def test_speech_and_text_take_turns_at_the_times_of_words(tokens, recipe, tokenizer, ids, tmp_path):
    rows = composed(tokens, tmp_path / "out", recipe, tokenizer)
    turns = read_recipe(recipe).templates["read_along"].interleaving.turns
    # Words begin at frames 1, 4 and 8 of ten; what stands before the first goes with it.
    begins, frames = [0, 4, 8, 10], list(range(1, 11))
    said = ["one", "two", "three"]
    merged = [1] * 3 + [2] * 4 + [3] * 3
    spoken = written = 0
    for name, codes, is_merged in (("said.wav", frames, False), ("merged.wav", merged, True)):
        expected = []
        for words, is_spoken in turns(name, 3):
            if is_spoken:
                part = codes[begins[words.start] : begins[words.stop]]
                if is_merged:
                    part = [c for n, c in enumerate(part) if not n or part[n - 1] != c]
                expected += ids.audio(part)
            else:
                text = " ".join(said[n] for n in words)
                expected += ids.words((" " if expected else "") + text)
            spoken, written = spoken + is_spoken, written + (not is_spoken)
        assert rows[f"read_along/{name}"]["ids"] == expected
    assert spoken and written
    sizes = [len(words) for n in range(200) for words, _ in turns(f"recording {n}", 9)]
    assert set(sizes) == {1, 2}


def test_what_cannot_be_filled_in_is_left_out_with_a_reason(tokens, recipe, tokenizer, tmp_path):
    out = tmp_path / "out"
    composed(tokens, out, recipe, tokenizer)
    lines = [json.loads(line) for line in (out / "left_out.jsonl").read_text().splitlines()]
    found = {(line["id"], line["reason"]) for line in lines}
    assert ("transcripts/merged.wav", "it has no text") in found
    assert ("descriptions/blank.png", "it has no text") in found
    assert ("questions/dog.png", "questions.csv has no line for it") in found
    manifest = json.loads((out / "dvse-export.json").read_text())
    assert manifest["left_out"]["transcripts"] == {"it has no text": 1}
    assert manifest["num_rows"]["each_question"] == 2
    assert manifest["bundle_fingerprint"] == tokenizer.fingerprint


def test_provenance_names_the_stored_rows(tokens, recipe, tokenizer, tmp_path):
    out = tmp_path / "out"
    rows = composed(tokens, out, recipe, tokenizer)
    noted = [
        r for p in sorted((out / "provenance").iterdir()) for r in pq.read_table(p).to_pylist()
    ]
    assert {line["row"] for line in noted} == set(rows)
    album = [line for line in noted if line["row"] == "album/cat.png"]
    assert [(a["place"], a["id"], a["shard"]) for a in album] == [
        (0, "cat.png", "shard-000000.parquet"),
        (1, "dog.png", "shard-000000.parquet"),
    ]
    assert rows["album/ox.png"]["sha256"] == sha("ox.png")
    assert rows["album/cat.png"]["sha256"] == sha(sha("cat.png") + sha("dog.png"))


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and ".export" not in p.parts
    }


def test_the_same_bytes_after_a_stop_at_every_shard(tokens, recipe, tokenizer, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    composed(tokens, whole, recipe, tokenizer)
    assert compose([tokens], whole, read_recipe(recipe), tokenizer).num_new == 0
    shutil.copytree(whole, out)
    for marker in sorted((out / ".export" / "done").iterdir())[3:]:
        marker.unlink()
    (out / "dvse-export.json").unlink()
    (out / shard_name(1)).unlink()
    (out / ".tmp-shard-000009.parquet").write_bytes(b"of a killed run")
    summary = compose([tokens], out, read_recipe(recipe), tokenizer)
    assert summary.num_new == summary.num_shards - 2
    assert contents(out) == contents(whole)


def test_workers_never_change_a_byte(tokens, recipe, tokenizer, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    composed(tokens, whole, recipe, tokenizer)
    composed(tokens, out, recipe, tokenizer, num_workers=2)
    assert contents(out) == contents(whole)


def test_composed_rows_are_proved_against_what_they_were_made_of(
    tokens, recipe, tokenizer, tmp_path, capsys
):
    out = tmp_path / "out"
    composed(tokens, out, recipe, tokenizer)
    words = ["verify", str(out), "--against", str(tokens)]
    assert main(words) == 0
    rows = [r for p in sorted(out.glob("shard-*.parquet")) for r in read_shard(p).to_pylist()]
    compared = f"{len(rows)} documents and {sum(len(row['ids']) for row in rows)} ids compared"
    assert f"{compared}, 0 problems" in capsys.readouterr().out

    # A code changed in a stored row, and a row that went away: named by the rows they are in.
    changed = shutil.copytree(tokens, tmp_path / "changed" / tokens.name)
    path = changed / shard_name(0)
    table = read_shard(path).to_pylist()
    table[0]["ids"][3] += 1
    del table[1]
    write_shard(path, table, schema=shard_schema("uint16"),
                metadata=ShardMetadata.of(tokenizer).to_schema_metadata())  # fmt: skip
    assert main(["verify", str(out), "--against", str(changed)]) == 1
    said = capsys.readouterr().err
    assert "descriptions/cat.png: 2 codes of image are of no row of its own" in said
    assert "descriptions/dog.png: no row 'dog.png' in" in said

    shard = out / shard_name(0)
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert main(words) == 1
    assert "shard-000000.parquet: missing, or not the bytes" in capsys.readouterr().err
    (out / "dvse-export.json").unlink()
    assert main(words) == 1
    assert "it is not finished; run the same command again" in capsys.readouterr().err


def test_shards_behind_the_first_thousand_lie_in_folders(tokens, recipe, tokenizer, tmp_path):
    many = shutil.copytree(tokens, tmp_path / "many")
    (many / "001").mkdir()
    (many / shard_name(1)).rename(many / "001" / shard_name(1000))
    rows = composed(many, tmp_path / "out", recipe, tokenizer)
    assert rows.keys() == composed(tokens, tmp_path / "plain", recipe, tokenizer).keys()
    noted = [
        line
        for path in sorted((tmp_path / "out/provenance").iterdir())
        for line in pq.read_table(path).to_pylist()
    ]
    assert {line["tokens"] for line in noted} == {"many"}
    assert main(["verify", str(tmp_path / "out"), "--against", str(many)]) == 0


def test_what_is_composed_lies_in_folders_too_and_an_earlier_versions_run_is_gone_on_with(
    tokens, recipe, tokenizer, tmp_path, monkeypatch
):
    flat, out, older = (tmp_path / name for name in ("flat", "out", "older"))
    composed(tokens, flat, recipe, tokenizer)
    assert not list(flat.glob("0*"))
    shutil.copytree(flat, older)
    for marker in sorted((older / ".export" / "done").iterdir())[4:]:
        marker.unlink()
    for path in sorted(older.glob("shard-*"))[4:]:
        path.unlink()
    (older / "dvse-export.json").unlink()
    monkeypatch.setattr("dvse.storage.shard.SHARDS_A_FOLDER", 3)
    for folder in (out, older):
        compose([tokens], folder, read_recipe(recipe), tokenizer)
        places = [path.relative_to(folder).as_posix() for path in find_shards(folder)]
        assert "002/shard-000006.parquet" in places and len(places) == len(find_shards(flat))
        assert (folder / "provenance/002/000006.parquet").exists()
        assert (folder / ".export/done/002/000006.json").exists()
        assert (folder / "left_out.jsonl").read_bytes() == (flat / "left_out.jsonl").read_bytes()
        for one, other in zip(find_shards(folder), find_shards(flat), strict=True):
            assert one.read_bytes() == other.read_bytes()
        assert main(["verify", str(folder), "--against", str(tokens)]) == 0
        assert compose([tokens], folder, read_recipe(recipe), tokenizer).num_new == 0
    assert "shard-000003.parquet" in [path.name for path in older.iterdir()]
    compose([tokens], out, read_recipe(recipe), tokenizer, overwrite=True)
    assert len(find_shards(out)) == len(find_shards(flat))


def test_another_recipe_or_other_shards_are_not_gone_on_with(tokens, tokenizer, tmp_path):
    out, recipe = tmp_path / "out", write_recipe(tmp_path)
    composed(tokens, out, recipe, tokenizer)
    (tmp_path / "questions.csv").write_text(QUESTIONS + "dog.png,Is it?,yes\n")
    with pytest.raises(ResumeError, match="recipe"):
        composed(tokens, out, recipe, tokenizer)
    assert "questions/dog.png" in composed(tokens, out, recipe, tokenizer, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="files that no export has written"):
        composed(tokens, tmp_path / "mine", recipe, tokenizer)


def test_the_command_and_what_reads_its_rows(tokens, tmp_path, capsys):
    recipe, out = write_recipe(tmp_path), tmp_path / "out"
    assert main(["compose", str(recipe), str(tokens), "--output", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "1: it has no text" in printed
    assert main(["verify", str(out)]) == 0
    loaded = dvse.TokenDataset(out, length=32, batch_size=1, shuffle=False)
    assert loaded.num_documents == len({*contents(out)}) or loaded.num_documents > 8
    first = next(iter(loaded))
    learnt = first.labels[0] != -100
    # The transcript and its end, but for nothing of the recording or the task token.
    expected = read_shard(out / shard_name(0)).to_pylist()[0]["loss_mask"]
    assert np.array_equal(learnt[: len(expected)], expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rows.a]\nprompt = '{audio}'", r"\[rows.a\]: expected a key 'answer' beside 'prompt'"),
        ("[rows.a]\nuser = '{sound}'\nassistant = 'x'", r"user: expected fields of \{image\}"),
        ("[rows.a]\ndocument = '{text'", "a brace itself is written"),
        ("[rows.a]\ndocument = 'hello'", "expected a field that is filled in"),
        ("[rows.a]\ndocument = '{image}{audio}'", "one picture or one recording"),
        ("[rows.a]\ndocument = '{text}'\njoins = 2", "has no 'joins'"),
        ("[rows.a]\ndocument = '{text}'\njoin = 0", "at least 1"),
        ("[rows.a]\ndocument = 3", "expected str, received 3"),
        ("[rows.a]\nhello = 'x'", "expected one of the keys document, prompt"),
        ("[rows.a]\ntable = 'none.csv'\ndocument = '{text}'", "expected a file 'none.csv'"),
        ("[rows.a]\ninterleave = 'letter'\nalignments = 'words.jsonl'", "'word' or 'phrase'"),
        ("[rows.a]\ninterleave = 'phrase'\nalignments = 'words.jsonl'", "line 1: expected"),
        ("[tasks]\ntext = '<|reserved_200|>'\n[rows.a]\ndocument = '{text}'", "a field already"),
        ("[row.a]\ndocument = '{text}'", "received row"),
        ("[[", "expected a recipe in TOML"),
    ],
)
def test_recipes_that_are_wrong_name_the_place(text, message, tmp_path):
    path = write_recipe(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as error:
        read_recipe(path)
    assert str(tmp_path) in str(error.value)


def test_task_tokens_are_reserved_specials_of_their_own(tokens, tokenizer, tmp_path):
    for special in ("<|user|>", "<|reserved_0|>", "<|reserved_256|>", "<|nothing|>"):
        text = f'[tasks]\nt = "{special}"\n[rows.a]\ndocument = "{{t}}{{text}}"\n'
        with pytest.raises(ConfigError, match="a special of its own"):
            composed(tokens, tmp_path / "out", write_recipe(tmp_path, text), tokenizer)


def test_ctm_alignments(tmp_path):
    from pipelines.composing.alignment import read_alignments

    path = tmp_path / "a.ctm"
    path.write_text(";; made by hand\nsaid 1 0.10 0.20 one\nsaid 1 0.40 0.10 two 0.99\n")
    (one, two) = read_alignments(path, "word")["said"]
    assert (one.text, one.start_s, one.end_s) == ("one", 0.1, pytest.approx(0.3))
    assert two.start_s == 0.4
    path.write_text("said 1 0.4 0.1 two\nsaid 1 0.1 0.1 one\n")
    with pytest.raises(ConfigError, match="times that rise"):
        read_alignments(path, "word")
