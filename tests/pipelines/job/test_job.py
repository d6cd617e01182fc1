"""The job with a step that has no weights: rows, errors, resume, order, equal bytes."""

import json
import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_step import FakeStep

from dvse.errors import ConfigError, JobError, ResumeError, StorageError, TooManyErrorsError
from dvse.storage.shard import read_metadata, read_shard
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine
from pipelines.job.config import JobConfig
from pipelines.job.estimate import estimate
from pipelines.job.job import Job
from pipelines.job.progress import NoProgress
from pipelines.sources.registry import SourceOptions


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(23):
        (folder / f"p{number:03d}.png").write_bytes(b"picture %d" % number)
    (folder / "p005.png").write_bytes(b"BAD")
    (folder / "p011.txt").write_text("a caption\n")
    (folder / "notes.xyz").write_text("?")
    return folder


def run(inputs, output, *, step=None, engine=None, **options):
    config = JobConfig(inputs=[str(i) for i in inputs], output=output, **options)
    return Job(config, step or FakeStep(), engine or InlineEngine()).run()


def shards(output):
    return {p.name: p.read_bytes() for p in sorted(output.glob("*.parquet"))}


def rows(output):
    return [r for p in sorted(output.glob("*.parquet")) for r in read_shard(p).to_pylist()]


def errors(output):
    return [json.loads(line) for line in (output / "errors.jsonl").read_text().splitlines()]


def test_every_input_is_a_row_or_an_error_line_in_input_order(pictures, tmp_path):
    summary = run([pictures], tmp_path / "out", shard_size=10)
    found = [r["id"] for r in rows(tmp_path / "out")]
    failed = [e["id"] for e in errors(tmp_path / "out")]
    assert sorted(found + failed) == sorted(p.name for p in pictures.iterdir())
    assert found == sorted(found)
    assert failed == ["notes.xyz", "p005.png"]
    assert summary.num_inputs == 25
    assert (summary.num_rows, summary.num_errors, summary.num_partitions) == (23, 2, 3)
    assert [len(read_metadata(p).lengths) for p in sorted((tmp_path / "out").glob("*.parquet"))]


def test_error_lines_say_source_stage_type_and_reason(pictures, tmp_path):
    run([pictures, tmp_path / "gone.png"], tmp_path / "out")
    by_id = {e["id"]: e for e in errors(tmp_path / "out")}
    assert by_id["notes.xyz"]["stage"] == "list"
    assert by_id["p005.png"] == {
        "index": 6,
        "id": "p005.png",
        "source": str(pictures / "p005.png"),
        "stage": "decode",
        "type": "DecodeError",
        "reason": "it says BAD",
    }
    gone = by_id[str(tmp_path / "gone.png")]
    assert (gone["stage"], gone["type"]) == ("read", "MissingFileError")


def test_a_caption_beside_the_picture_travels_along(pictures, tmp_path):
    run([pictures], tmp_path / "out")
    by_id = {r["id"]: r for r in rows(tmp_path / "out")}
    assert by_id["p011.png"]["text"] == "a caption\n"
    assert by_id["p012.png"]["text"] is None
    assert by_id["p011.txt"]["modality"] == "text"


def test_same_bytes_whatever_workers_batch_size_and_engine(pictures, tmp_path):
    engines = {
        "inline": InlineEngine(max_chunks=3),
        "one": LocalEngine(num_workers=1, max_chunks=256),
        "three": LocalEngine(num_workers=3, max_chunks=2, devices=("cpu", "cpu")),
    }
    made = {}
    for name, engine in engines.items():
        run([pictures], tmp_path / name, shard_size=7, engine=engine)
        made[name] = shards(tmp_path / name), (tmp_path / name / "errors.jsonl").read_bytes()
    assert made["inline"] == made["one"] == made["three"]
    assert len(made["inline"][0]) == 4


def test_rerun_does_only_what_is_missing_and_repeats_no_error_line(pictures, tmp_path):
    out = tmp_path / "out"
    run([pictures], out, shard_size=10)
    before, lines = shards(out), (out / "errors.jsonl").read_bytes()
    (out / "shard-000001.parquet").unlink()
    summary = run([pictures], out, shard_size=10)
    assert summary.new_inputs == 10
    assert summary.repaired == (1,)
    assert shards(out) == before
    assert (out / "errors.jsonl").read_bytes() == lines
    assert run([pictures], out, shard_size=10).new_inputs == 0
    assert (out / "errors.jsonl").read_bytes() == lines


def test_corrupt_shard_is_made_again(pictures, tmp_path):
    out = tmp_path / "out"
    run([pictures], out, shard_size=10)
    before = shards(out)
    data = bytearray(before["shard-000002.parquet"])
    data[len(data) // 2] ^= 1
    (out / "shard-000002.parquet").write_bytes(data)
    assert run([pictures], out, shard_size=10).repaired == (2,)
    assert shards(out) == before


@pytest.mark.parametrize(("damage", "word"), [("gone", "missing"), ("cut", "corrupt")])
@pytest.mark.parametrize("name", ["shard-000001.parquet", "000001.jsonl"])
def test_what_is_gone_is_called_missing_and_what_is_damaged_corrupt(
    pictures, tmp_path, damage, word, name
):
    out = tmp_path / "out"
    run([pictures], out, shard_size=10)
    (path,) = out.rglob(name)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"PAR1")
    told = []
    progress = NoProgress()
    progress.note = told.append
    config = JobConfig(inputs=[str(pictures)], output=out, shard_size=10)
    Job(config, FakeStep(), InlineEngine(), progress=progress).run()
    (line,) = [line for line in told if "made again" in line]
    assert name in line
    assert word in line


def test_an_estimate_counts_as_the_job_does_and_names_what_differs(pictures, tmp_path):
    """Two pictures and a finished `tokens/` beside them: the job said 2, the dry run 12."""
    out = pictures / "tokens"
    summary = run([pictures], out, shard_size=10)
    options = SourceOptions()

    def counted():
        return estimate(
            [str(pictures)], options, FakeStep(), InlineEngine(), shard_size=10, output=out
        )

    assert counted().listing.num_known == summary.num_inputs == 25
    assert "begun there" not in counted().table()
    (pictures / "new.png").write_bytes(b"new")
    assert counted().listing.num_known == 26
    assert f"  added: {pictures / 'new.png'}" in counted().table()


@pytest.mark.parametrize("kind", ["unopened", "all bad", "missing", "folder"])
def test_a_data_set_of_which_nothing_gave_a_row_is_named(pictures, tmp_path, kind):
    path = tmp_path / ("empty" if kind == "folder" else "x.parquet")
    if kind == "unopened":
        path.write_bytes(b"PAR1 no more")
    elif kind == "all bad":
        pq.write_table(pa.table({"image": pa.array([b"BAD", b"BAD"])}), path)
    elif kind == "folder":
        path.mkdir()
    summary = run([pictures, path], tmp_path / "out", shard_size=10)
    assert summary.fruitless == (str(path),)
    assert run([pictures, path], tmp_path / "out", shard_size=10).fruitless == (str(path),)
    assert run([pictures], tmp_path / "fine").fruitless == ()


def test_another_bundle_is_refused_with_the_difference(pictures, tmp_path):
    run([pictures], tmp_path / "out")
    with pytest.raises(ResumeError, match=r"bundle_fingerprint: f+ before, e+ now"):
        run([pictures], tmp_path / "out", step=FakeStep(bundle_fingerprint="e" * 64))


def test_another_shard_size_is_refused(pictures, tmp_path):
    run([pictures], tmp_path / "out", shard_size=10)
    with pytest.raises(ResumeError, match="shard_size: 10 before, 11 now"):
        run([pictures], tmp_path / "out", shard_size=11)


@pytest.mark.parametrize("is_finished", [True, False])
def test_other_numerics_are_refused_unless_drift_is_allowed(pictures, tmp_path, is_finished):
    out = tmp_path / "out"
    run([pictures], out, shard_size=10)
    if not is_finished:
        (out / "shard-000001.parquet").unlink()
    other = FakeStep(threads=2)
    with pytest.raises(ResumeError, match="threads: 1 before, 2 now"):
        run([pictures], out, shard_size=10, step=other)
    run([pictures], out, shard_size=10, step=other, allow_numerics_drift=True)
    drifted = read_metadata(out / "shard-000001.parquet").profile["threads"]
    assert drifted == (1 if is_finished else 2)


def test_changed_inputs_are_refused_with_names(pictures, tmp_path):
    run([pictures], tmp_path / "out")
    (pictures / "p000.png").write_bytes(b"longer than before")
    (pictures / "p001.png").unlink()
    (pictures / "new.png").write_bytes(b"new")
    with pytest.raises(ResumeError) as caught:
        run([pictures], tmp_path / "out")
    message = str(caught.value)
    assert f"removed: {pictures / 'p001.png'}" in message
    assert f"added: {pictures / 'new.png'}" in message
    assert f"changed: {pictures / 'p000.png'} (9 bytes before, 18 bytes now)" in message


def test_overwrite_starts_again_and_leaves_other_files(pictures, tmp_path):
    out = tmp_path / "out"
    run([pictures], out, shard_size=5)
    (out / "README").write_text("mine")
    run([pictures / "p001.png"], out, overwrite=True)
    assert [r["id"] for r in rows(out)] == [str(pictures / "p001.png")]
    assert (out / "README").read_text() == "mine"
    assert errors(out) == []


def test_retry_errors_tries_only_the_failed_ones_again(pictures, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    run([pictures], out, shard_size=10)
    (pictures / "p005.png").write_bytes(b"picture 5")
    summary = run([pictures], out, shard_size=10, retry_errors=True, step=FakeStep(log=str(log)))
    assert log.read_text() == "1\n"
    assert (summary.new_inputs, summary.num_errors) == (2, 1)
    run([pictures], tmp_path / "clean", shard_size=10)
    assert shards(out) == shards(tmp_path / "clean")
    assert [e["id"] for e in errors(out)] == ["notes.xyz"]


def test_too_many_errors_end_the_job_and_are_written_down(pictures, tmp_path):
    with pytest.raises(TooManyErrorsError, match="2 of 25 inputs failed"):
        run([pictures], tmp_path / "out", max_error_rate=0.05)
    assert len(errors(tmp_path / "out")) == 2
    assert run([pictures], tmp_path / "out", max_error_rate=0.08).num_errors == 2


def test_duplicate_names_are_all_rows_with_names_of_their_own(pictures, tmp_path):
    one = str(pictures / "p001.png")
    run([one, one, one], tmp_path / "out", shard_size=2)
    assert [r["id"] for r in rows(tmp_path / "out")] == [one, f"{one}#2", f"{one}#3"]
    before = shards(tmp_path / "out")
    (tmp_path / "out" / "shard-000001.parquet").unlink()
    run([one, one, one], tmp_path / "out", shard_size=2)
    assert shards(tmp_path / "out") == before


def test_odd_names_survive(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    names = [b"caf\xe9 50%.png", b"a\nb.png", b"  space .png", "日本.png".encode()]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(b"picture")
    run([folder], tmp_path / "out", engine=LocalEngine())
    found = {r["id"] for r in rows(tmp_path / "out")}
    assert found == {"caf%E9 50%25.png", "a\nb.png", "  space .png", "日本.png"}
    assert run([folder], tmp_path / "out").new_inputs == 0


def test_strange_shards_are_not_mixed_with_ours(pictures, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "shard-000000.parquet").write_bytes(b"?")
    with pytest.raises(ConfigError, match="belongs to no job"):
        run([pictures], out)
    run([pictures], out, overwrite=True)


def test_full_disk_is_one_clear_error_and_the_rerun_finishes(pictures, tmp_path, monkeypatch):
    import errno

    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        run([pictures], tmp_path / "out", shard_size=5)
    assert not list((tmp_path / "out").rglob(".tmp-*.parquet-*"))
    monkeypatch.undo()
    done = len(shards(tmp_path / "out"))
    assert done < 5
    run([pictures], tmp_path / "out", shard_size=5)
    run([pictures], tmp_path / "clean", shard_size=5)
    assert shards(tmp_path / "out") == shards(tmp_path / "clean")


def test_second_job_in_the_same_directory_is_kept_out(pictures, tmp_path):
    from pipelines.job.open_journal import open_journal

    with (
        open_journal(tmp_path / "out").occupation.alone(),
        pytest.raises(JobError, match="another job is writing"),
    ):
        run([pictures], tmp_path / "out")


def test_unopenable_step_is_one_clear_error(pictures, tmp_path):
    from dvse.errors import BundleNotFoundError

    for engine in (InlineEngine(), LocalEngine()):
        with pytest.raises(BundleNotFoundError, match="no such bundle"):
            run([pictures], tmp_path / "out", step=FakeStep(fail="no such bundle"), engine=engine)
    assert not list(Path(tmp_path / "out").glob("*.parquet"))


def test_asked_to_stop_while_inputs_are_found_it_stops_at_once(pictures, tmp_path, monkeypatch):
    """A library that lists a large data set may take minutes, and swallow what it can."""

    def slow(self, inputs):
        try:
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("it went on")
        except Exception:
            pytest.fail("the request was swallowed")
        yield

    monkeypatch.setattr("pipelines.sources.listing.Lister.entries", slow)
    summary = run([pictures], tmp_path / "out")
    assert summary.stopped_by == "SIGTERM"
    assert summary.num_inputs == 0
    monkeypatch.undo()
    assert run([pictures], tmp_path / "out").stopped_by is None


def test_error_lines_are_put_together_again_only_where_something_is_another(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02d}.png").write_bytes(b"BAD" if number % 5 == 2 else b"%d" % number)
    out = tmp_path / "out"
    run([folder], out)
    lines, written = (out / "errors.jsonl").read_text(), (out / "errors.jsonl").stat().st_mtime_ns
    assert lines.count("\n") == 2
    run([folder], out)
    assert (out / "errors.jsonl").stat().st_mtime_ns == written
    for damage in ("half a li", None):
        (out / "errors.jsonl").unlink()
        if damage is not None:
            (out / "errors.jsonl").write_text(damage)
        run([folder], out)
        assert (out / "errors.jsonl").read_text() == lines
    (folder / "02.png").write_bytes(b"good")
    os.utime(folder / "02.png", ns=(1, (folder / "02.png").stat().st_mtime_ns))
    run([folder], out, retry_errors=True, redo_changed=True)
    assert (out / "errors.jsonl").read_text() == lines.partition("\n")[2]
