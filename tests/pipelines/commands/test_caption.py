"""`dvse caption` as users type it: printing, the file, resume, errors and exit codes."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from pipelines import Captioner
from pipelines.cli import main

RATE_HZ = 16000


@pytest.fixture(scope="module")
def media_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    rng = np.random.default_rng(0)
    for name in ("a.png", "d.png"):
        pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    soundfile.write(folder / "b.wav", rng.uniform(-0.5, 0.5, RATE_HZ // 2), RATE_HZ)
    # 20 s are more units than the random model's context of 512 holds.
    soundfile.write(folder / "long.wav", rng.uniform(-0.5, 0.5, RATE_HZ * 20), RATE_HZ)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "d.txt").write_text("a caption beside it")
    return folder


@pytest.fixture
def media(media_once, tmp_path):
    return shutil.copytree(media_once, tmp_path / "in")


@pytest.fixture
def caption(random_model):
    def run(*args, workers=0):
        words = ["caption", *map(str, args), "--model", str(random_model), "--threads", "1"]
        return main([*words, "--workers", str(workers), "--max-new-tokens", "5"])

    return run


@pytest.fixture(scope="module")
def captioner(random_model):
    return Captioner.load(random_model, threads=1)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_one_file_prints_its_caption_and_nothing_else(caption, captioner, media, capsys):
    assert caption(media / "a.png") == 0
    expected = captioner(media / "a.png", max_new_tokens=5)
    assert capsys.readouterr().out == f"{expected}\n"


def test_two_files_print_a_line_each_in_order(caption, captioner, media, capsys):
    files = [media / "b.wav", media / "a.png"]
    assert caption(*files) == 0
    expected = zip(files, captioner(files, max_new_tokens=5), strict=True)
    assert capsys.readouterr().out == "".join(f"{name}: {text}\n" for name, text in expected)


def test_prompt_and_thinking(caption, captioner, media, capsys):
    assert caption(media / "a.png", "--prompt", "How many?", "--thinking") == 0
    found = captioner(
        media / "a.png", prompt="How many?", thinking=True, details=True, max_new_tokens=5
    )
    assert capsys.readouterr().out == f"<think>{found.reasoning}</think>{found.text}\n"


def test_what_fails_goes_to_stderr_and_the_rest_is_printed(caption, media, capsys):
    assert caption(media / "broken.png", media / "long.wav", media / "a.png") == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1
    broken, long = printed.err.splitlines()
    assert broken.startswith("dvse caption: ") and "broken.png" in broken
    assert "context holds 512" in long
    assert caption(media / "broken.png") == 3
    assert caption(media / "gone.png") == 3
    assert "no such file" in capsys.readouterr().err


def test_many_inputs_want_a_file(caption, tmp_path, capsys):
    (tmp_path / "many").mkdir()
    for n in range(41):
        (tmp_path / "many" / f"{n}.txt").write_text("Hi")
    assert caption(tmp_path / "many") == 2
    assert "give --output FILE" in capsys.readouterr().err


def test_every_input_is_a_line_or_an_error_line(caption, captioner, media, tmp_path):
    out = tmp_path / "captions.jsonl"
    assert caption(media, "--output", out, "--quiet") == 0
    rows = lines(out)
    assert [row["id"] for row in rows] == ["a.png", "b.wav", "d.png", "d.txt"]
    assert [row["modality"] for row in rows] == ["image", "audio", "image", "text"]
    assert rows[2]["text"] == "a caption beside it"
    assert rows[1]["duration_s"] == pytest.approx(0.5)
    files = [media / row["id"] for row in rows]
    expected = captioner(files, max_new_tokens=5, details=True)
    assert [row["caption"] for row in rows] == [one.text for one in expected]
    for row, one in zip(rows, expected, strict=True):
        assert row["log_probability"] == pytest.approx(one.log_probability, abs=2e-3)
        assert row["num_prompt_ids"] == one.num_prompt_ids
    errors = lines(tmp_path / "captions.jsonl.job" / "errors.jsonl")
    assert [(e["id"], e["type"]) for e in errors] == [
        ("broken.png", "DecodeError"),
        ("long.wav", "PromptTooLongError"),
    ]


def test_parquet_holds_the_same_and_the_ids(caption, media, tmp_path):
    assert caption(media, "--output", tmp_path / "c.jsonl", "--quiet") == 0
    assert caption(media, "--output", tmp_path / "c.parquet", "--quiet", "--shard-size", "2") == 0
    table = pq.read_table(tmp_path / "c.parquet")
    ids = table.column("ids").to_pylist()
    assert all(1 <= len(row) <= 5 for row in ids)
    assert table.drop_columns(["ids"]).to_pylist() == lines(tmp_path / "c.jsonl")
    about = json.loads(table.schema.metadata[b"dvse.captions"])
    assert about["model"] == "random" and about["max_new_tokens"] == 5


def test_processes_give_what_one_process_gives(caption, media, tmp_path):
    assert caption(media, "--output", tmp_path / "one.jsonl", "--quiet") == 0
    assert caption(media, "--output", tmp_path / "more.jsonl", "--quiet", workers=2) == 0
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "more.jsonl").read_bytes()


def test_a_rerun_does_nothing_and_other_settings_are_refused(caption, media, tmp_path, capsys):
    out = tmp_path / "c.jsonl"
    assert caption(media, "--output", out) == 0
    before = out.read_bytes()
    out.unlink()
    assert caption(media, "--output", out) == 0
    assert "0 of them now" in capsys.readouterr().out
    assert out.read_bytes() == before
    assert caption(media, "--output", out, "--prompt", "Why?") == 4
    assert "question: null before, Why? now" in capsys.readouterr().err
    assert caption(media, "--output", out, "--prompt", "Why?", "--overwrite") == 0


def test_another_decoder_is_another_job(caption, random_model, media, tmp_path, capsys):
    from small_model import save_small_model

    out = tmp_path / "c.jsonl"
    assert caption(media, "--output", out) == 0
    other = save_small_model(tmp_path / "random", initializer_range=0.1)
    words = ["caption", str(media), "--output", str(out), "--model", str(other)]
    assert main([*words, "--workers", "0", "--threads", "1", "--max-new-tokens", "5"]) == 4
    assert "decoder_sha256" in capsys.readouterr().err


def test_failed_inputs_are_tried_again_on_request(caption, media, tmp_path):
    out = tmp_path / "c.jsonl"
    assert caption(media, "--output", out, "--quiet") == 0
    shutil.copy(media / "a.png", media / "broken.png")
    assert caption(media, "--output", out, "--quiet", "--retry-errors") == 0
    rows = {row["id"]: row for row in lines(out)}
    assert list(rows) == ["a.png", "b.wav", "broken.png", "d.png", "d.txt"]
    assert rows["broken.png"]["caption"] == rows["a.png"]["caption"]


def test_a_conversation_gets_its_last_answer_anew(caption, captioner, tmp_path):
    talk = [
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "I am small."},
    ]
    (tmp_path / "talk.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    out = tmp_path / "c.jsonl"
    assert caption(tmp_path / "talk.jsonl", "--output", out, "--quiet") == 0
    (row,) = lines(out)
    from dvse.items import Text

    assert row["caption"] == captioner(Text("Who are you?"), max_new_tokens=5)


def test_wrong_settings_and_outputs(caption, media, tmp_path, capsys):
    assert caption(media, "--output", tmp_path / "captions.txt") == 2
    assert ".jsonl or .parquet" in capsys.readouterr().err
    assert caption(media / "a.png", "--temperature", "-1") == 2
    assert "temperature: expected" in capsys.readouterr().err
    assert caption(media, "--output", tmp_path / "c.jsonl", "--batch-size", "0") == 2
    assert main(["caption", str(media / "a.png"), "--model", "no such"]) == 1
    assert "no bundle 'no such'" in capsys.readouterr().err


def test_dry_run_writes_nothing(caption, media, tmp_path, capsys):
    before = sorted(tmp_path.iterdir())
    assert caption(media, "--dry-run", "--output", tmp_path / "c.jsonl") == 0
    assert "nothing was written" in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == before


def test_parts_write_the_file_once_all_of_it_is_there(caption, media, tmp_path):
    caption(media, "--output", tmp_path / "whole.jsonl", "--shard-size", "2")
    out = tmp_path / "out.jsonl"
    assert caption(media, "--output", out, "--shard-size", "2", "--part", "2/2") == 0
    assert not out.exists()
    assert caption(media, "--output", out, "--shard-size", "2", "--part", "1/2") == 0
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
