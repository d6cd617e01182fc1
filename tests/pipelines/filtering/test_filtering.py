"""Filters: what stays is unchanged, what goes says why; duplicates across jobs; refusals."""

import json

import pytest
from filter_rows import read, row, run, write

from dvse import TokenDataset
from dvse.errors import ConfigError, ShardError
from dvse.storage.shard import find_shards, read_shard
from pipelines.cli import main
from pipelines.filtering.filters import read_filters

LONG = "the quick brown fox jumps over the lazy dog near the old river bank at noon today"


ROWS = [
    [
        row("plain"),
        row("short", ids=[1]),
        row("picture", modality="image", grid_h=4, grid_w=4, sha256="aa" * 32),
        row("narrow", modality="image", grid_h=1, grid_w=16),
        row("click", modality="audio", duration_s=0.05),
        row("speech", modality="audio", duration_s=2.0, sha256="bb" * 32),
    ],
    [
        row("copy", modality="image", grid_h=4, grid_w=4, sha256="aa" * 32),
        row("silence", ids=[7] * 29 + [1, 2, 3], modality="audio", duration_s=1.0),
        row("varied", ids=range(40)),
        row("said", text=LONG),
        row("said again", text=LONG.upper() + " twice"),
        row("other words", text="nothing here is like any of the sentences that came before it"),
    ],
]

FILE = """
[length]
least = 2

[duration]
least_s = 0.1

[grid]
least_side = 2
most_aspect = 4.0

[monotony]
most = 0.9

[exact_duplicates]

[near_duplicate_text]
most = 0.7
"""

EXPECTED = {
    "short": ("length", 1.0),
    "narrow": ("grid", 1.0),
    "click": ("duration", 0.05),
    "silence": ("monotony", 29 / 32),
    "copy": ("exact_duplicates", 1.0),
}


@pytest.fixture
def tokens(tmp_path):
    return write(tmp_path / "tokens", ROWS)


def test_every_row_stays_as_it_was_or_says_why_it_went(tokens, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(tokens, out, FILE) == 0
    refused = {line["id"]: line for line in read(out, "filtered")}
    assert {*EXPECTED, "said again"} == set(refused)
    for name, (kind, score) in EXPECTED.items():
        assert (refused[name]["filter"], refused[name]["score"]) == (kind, pytest.approx(score))
    again = refused["said again"]
    assert again["filter"] == "near_duplicate_text"
    # 15 of 16 groups of three words are shared: Jaccard 15 / 16, estimated from 128 hashes.
    assert again["score"] == pytest.approx(15 / 16, abs=0.15)
    assert again["reason"].endswith("as in said")
    assert refused["copy"]["reason"] == "the same bytes as picture"
    before = {line["id"]: line for line in read(tokens, "shard")}
    after = {line["id"]: line for line in read(out, "shard")}
    assert after == {name: line for name, line in before.items() if name not in refused}
    assert {k: v for k, v in refused["copy"].items() if k in before["copy"]} == before["copy"]
    printed = capsys.readouterr().out
    summary = json.loads((out / "filter.json").read_text())
    assert summary["num_kept"] == 6
    assert list(summary["refused"].values()) == [1, 1, 1, 1, 1, 1]
    assert "6 of 12 rows stay" in printed
    assert TokenDataset(out, length=8).num_documents == 6


def test_a_second_run_gives_the_same_bytes(tokens, tmp_path):
    out = tmp_path / "out"
    assert run(tokens, out, FILE) == 0
    first = {path.name: path.read_bytes() for path in out.glob("*.parquet")}
    (out / ".tmp-shard-000001.parquet").write_bytes(b"of a killed run")
    assert run(tokens, out, FILE) == 0
    assert {path.name: path.read_bytes() for path in out.glob("*.parquet")} == first


def test_what_stays_and_what_goes_lies_in_folders_where_there_is_much(
    tmp_path, capsys, monkeypatch
):
    tokens, out = (
        write(tmp_path / "tokens", [[one] for some in ROWS for one in some]),
        tmp_path / "out",
    )
    assert run(tokens, out, FILE) == 0
    names = [path.name for path in find_shards(out)]
    kept, gone = read(out, "shard"), sorted(line["id"] for line in read(out, "filtered"))
    monkeypatch.setattr("dvse.storage.shard.SHARDS_A_FOLDER", 5)
    for _ in range(2):  # over what an earlier version wrote, then over what this one did
        assert run(tokens, out, FILE) == 0
        places = [path.relative_to(out).as_posix() for path in find_shards(out)]
        assert [place.rpartition("/")[2] for place in places] == names
        assert places[4:6] == ["shard-000004.parquet", "001/shard-000005.parquet"]
        assert len(list(out.rglob("*.parquet"))) == 2 * len(names)
        rows = [line for path in find_shards(out) for line in read_shard(path).to_pylist()]
        assert rows == kept
    capsys.readouterr()
    assert main(["inspect", str(out), "--filtered", "--rows", "20"]) == 0
    printed = capsys.readouterr().out
    assert gone and all(name in printed for name in gone)


def test_duplicates_of_other_jobs(tokens, tmp_path):
    other = write(tmp_path / "other", [[row("elsewhere", sha256="bb" * 32)]])
    text = f"[exact_duplicates]\nagainst = ['{other}']\n"
    assert run(tokens, tmp_path / "out", text) == 0
    refused = {line["id"]: line["reason"] for line in read(tmp_path / "out", "filtered")}
    assert refused == {
        "copy": "the same bytes as picture",
        "speech": f"the same bytes as elsewhere of {other}",
    }


def test_what_another_filter_refuses_is_no_original(tmp_path):
    rows = [row("first", ids=[1], sha256="cc" * 32), row("second", ids=[1, 2], sha256="cc" * 32)]
    tokens = write(tmp_path / "t", [rows])
    assert run(tokens, tmp_path / "out", "[exact_duplicates]\n[length]\nleast = 2\n") == 0
    assert [line["id"] for line in read(tmp_path / "out", "shard")] == ["second"]


def test_inspect_shows_what_was_left_out(tokens, tmp_path, capsys):
    assert run(tokens, tmp_path / "out", FILE) == 0
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "out"), "--filtered", "--rows", "9"]) == 0
    printed = capsys.readouterr().out
    assert "the same bytes as picture" in printed
    assert "duration" in printed
    assert main(["inspect", str(tokens), "--filtered"]) == 1
    assert "written by dvse filter" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found none"),
        ("[loud]\nleast = 1", "received 'loud'"),
        ("[length]\nleats = 1", r"unknown setting length.leats; known are least, most"),
        ("[length]\nleast = 5\nmost = 2", "rising order"),
        ("[monotony]\nmost = 2.0", r"0\.\.1"),
        ("[grid]", "expected bounds"),
        ("length = 3", "received 'length'"),
        ("[[", "expected a TOML file"),
    ],
)
def test_files_that_are_wrong(text, message, tmp_path):
    path = tmp_path / "f.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_filters(path)
    with pytest.raises(ConfigError, match="expected a TOML file"):
        read_filters(tmp_path / "none.toml")


def test_foreign_folders_and_missing_shards(tokens, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    assert run(tokens, tmp_path / "mine", FILE) == 2
    assert "files that no filter has written" in capsys.readouterr().err
    assert run(tmp_path / "mine", tmp_path / "out", FILE) == 1
    path = tmp_path / "f.toml"
    path.write_text("[exact_duplicates]\nagainst = ['nowhere']\n")
    with pytest.raises(ShardError, match="nowhere: there are no token shards"):
        read_filters(path)
