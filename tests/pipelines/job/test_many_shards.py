"""Shards behind the first thousand lie in folders; outputs without folders are gone on with."""

import json
import shutil

import pytest
from datasets import load_dataset
from fake_step import FakeStep

from dvse.dataset.token_dataset import TokenDataset
from dvse.storage.shard import find_shards, read_shard
from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.job.open_journal import open_journal
from pipelines.job.part_job import PartJob


@pytest.fixture(autouse=True)
def folders_of_three(monkeypatch):
    """Three shards in place of a thousand."""
    monkeypatch.setattr("dvse.storage.shard.SHARDS_A_FOLDER", 3)


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(20):
        bad = number % 9 == 7
        (folder / f"{number:02d}.png").write_bytes(b"BAD" if bad else b"picture %d" % number)
    return folder


def run(inputs, output, job=Job, **options):
    config = JobConfig(inputs=[str(inputs)], output=output, shard_size=2, **options)
    return job(config, FakeStep(), InlineEngine()).run()


def flat(monkeypatch, inputs, output):
    """An output as earlier versions wrote it."""
    with monkeypatch.context() as patch:
        patch.setattr("dvse.storage.shard.SHARDS_A_FOLDER", 1000)
        run(inputs, output)
    assert not list(output.glob("0*"))
    return output


def rows(output):
    return [row for path in find_shards(output) for row in read_shard(path).to_pylist()]


def errors(output):
    return (output / "errors.jsonl").read_text()


def places(folder, pattern):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob(pattern))


def test_each_shard_marker_and_part_of_errors_has_its_place(tmp_path, inputs, monkeypatch):
    out = tmp_path / "out"
    summary = run(inputs, out)
    assert (summary.num_rows, summary.num_partitions) == (18, 10)
    wanted = [f"{n // 3:03d}/{n:06d}" if n > 2 else f"{n:06d}" for n in range(10)]
    assert sorted(places(out / ".job" / "done", "*.json")) == sorted(f"{w}.json" for w in wanted)
    assert sorted(places(out / ".job" / "errors", "*")) == sorted(
        [*(f"{w}.jsonl" for w in wanted), "001", "002", "003"]
    )
    shards = [w.replace("/", "/shard-") if "/" in w else f"shard-{w}" for w in wanted]
    assert places(out, "shard-*") == sorted(f"{s}.parquet" for s in shards)
    before = flat(monkeypatch, inputs, tmp_path / "flat")
    assert rows(out) == rows(before)
    assert errors(out) == errors(before)
    assert run(inputs, out).new_inputs == 0


def test_folders_of_shards_are_read_as_one_data_set(tmp_path, inputs):
    out = tmp_path / "out"
    run(inputs, out)
    expected = rows(out)
    found = load_dataset(str(out), cache_dir=str(tmp_path / "cache"), split="train")
    assert sorted(found["id"]) == sorted(row["id"] for row in expected)
    window = sum(len(row["ids"]) for row in expected)
    (batch,) = TokenDataset(out, length=window, batch_size=1, shuffle=False)
    assert batch.input_ids.flatten().tolist() == [i for row in expected for i in row["ids"]]


def test_shards_of_an_earlier_version_stay_and_are_found(tmp_path, inputs, monkeypatch):
    out = flat(monkeypatch, inputs, tmp_path / "out")
    expected, lines = rows(out), errors(out)
    assert run(inputs, out).new_inputs == 0
    assert (rows(out), errors(out)) == (expected, lines)
    assert not list(out.glob("0*"))
    assert len(open_journal(out).done()) == 10


@pytest.mark.parametrize("how", ["shard gone", "shard damaged", "marker gone", "errors gone"])
@pytest.mark.parametrize("job", [Job, PartJob])
def test_what_is_made_again_takes_its_new_place_alone(tmp_path, inputs, monkeypatch, how, job):
    out = flat(monkeypatch, inputs, tmp_path / "out")
    expected, lines = rows(out), errors(out)
    options = {} if job is Job else {"part": "1/1"}
    shard, journal = out / "shard-000008.parquet", out / ".job"
    if how == "shard gone":
        shard.unlink()
    elif how == "shard damaged":
        shard.write_bytes(b"PAR1")
    elif how == "marker gone":
        (journal / "done" / "000008.json").unlink()
    else:
        (journal / "errors" / "000008.jsonl").unlink()
    assert run(inputs, out, job, **options).new_inputs == 2
    assert (rows(out), errors(out)) == (expected, lines)
    assert places(out, "*000008*") == [
        ".job/done/002/000008.json", ".job/errors/002/000008.jsonl", "002/shard-000008.parquet"
    ]  # fmt: skip
    assert run(inputs, out, job, **options).new_inputs == 0


def test_killed_between_the_new_place_and_the_old_one(tmp_path, inputs, monkeypatch):
    out = flat(monkeypatch, inputs, tmp_path / "out")
    expected = rows(out)
    kept = tmp_path / "kept"
    kept.mkdir()
    moved = {
        out / "shard-000008.parquet": kept / "shard",
        out / ".job/done/000008.json": kept / "marker",
        out / ".job/errors/000008.jsonl": kept / "errors",
    }
    for place, copy in moved.items():
        shutil.copy2(place, copy)
    (out / "shard-000008.parquet").unlink()
    run(inputs, out)
    for place, copy in moved.items():
        shutil.copy2(copy, place)
    assert rows(out) == expected
    assert run(inputs, out).new_inputs == 0
    assert rows(out) == expected
    marker = json.loads((out / ".job/done/002/000008.json").read_text())
    assert marker["shard"] == "002/shard-000008.parquet"


def test_folders_of_other_jobs_are_not_read_and_not_touched(tmp_path, inputs):
    """A job beside others, each in a numbered folder."""
    for number in range(3):
        run(inputs, tmp_path / "all" / f"{number:03d}")
    assert find_shards(tmp_path / "all") == []
    run(inputs, tmp_path / "all" / "001" / "inner")
    assert len(find_shards(tmp_path / "all" / "001")) == 10


def test_starting_again_leaves_no_shard_behind(tmp_path, inputs):
    out = tmp_path / "out"
    run(inputs, out)
    for path in sorted(inputs.iterdir())[5:]:
        path.unlink()
    (out / "002" / "notes.txt").write_text("mine")
    run(inputs, out, overwrite=True)
    assert len(rows(out)) == 5
    assert (out / "002" / "notes.txt").exists()
    assert not (out / "001").exists() and not (out / "003").exists()
    assert len(list(out.rglob("*.json"))) == 6  # markers, and one each for job, summary, lines
    assert len(find_shards(out)) == 3
