"""Inputs that come, go, grow, shrink, change or could not be opened at first, in every container.

The judge is a job of its own over the inputs as they are in the end: the same rows, in another
order at most. Rows and error lines that stay must not move.
"""

import io
import json
import os
import tarfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from fake_step import FakeStep

from dvse.errors import ResumeError
from dvse.storage.shard import read_shard
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine
from pipelines.job.config import JobConfig
from pipelines.job.inputs_today import differences_today
from pipelines.job.job import Job
from pipelines.job.open_journal import open_journal
from pipelines.sources.registry import SourceOptions


class Notes:
    """A progress that keeps what it is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)

    def begin(self, total, already):
        self.total, self.already = total, already

    def update(self, errors):
        pass

    def end(self):
        pass


def run(inputs, output, *, notes=None, engine=None, shard_size=4, **options):
    config = JobConfig(
        inputs=[str(i) for i in inputs], output=output, shard_size=shard_size, **options
    )
    return Job(config, FakeStep(), engine or InlineEngine(), progress=notes).run()


def shards(output):
    return {p.name: p.read_bytes() for p in sorted(output.glob("shard-*.parquet"))}


def contents(output):
    """Every row, whatever its place; names are unique, so nothing is there twice."""
    rows = [r for p in sorted(output.glob("*.parquet")) for r in read_shard(p).to_pylist()]
    assert len({r["id"] for r in rows}) == len(rows)
    return sorted((r["id"], r["source"], r["sha256"], r["text"], tuple(r["ids"])) for r in rows)


def error_ids(output):
    return [json.loads(line)["id"] for line in (output / "errors.jsonl").read_text().splitlines()]


def text(number):
    return f"sample number {number}"


def write_tar(path, numbers):
    with tarfile.open(path, "w") as archive:
        for number in numbers:
            data = text(number).encode()
            info = tarfile.TarInfo(f"{path.stem}-{number}.txt")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_parquet(path, numbers):
    pq.write_table(pa.table({"text": [text(n) for n in numbers]}), path)


def write_arrow(path, numbers):
    table = pa.table({"text": [text(n) for n in numbers]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def write_jsonl(path, numbers):
    path.write_text("".join(json.dumps({"text": text(n)}) + "\n" for n in numbers))


def files_of(path, numbers):
    media = path.parent.parent / f"media-{path.stem}"
    media.mkdir(exist_ok=True)
    for number in numbers:
        file = media / f"{path.stem}-{number}.txt"
        if not file.exists():
            file.write_text(text(number))
    return [f"{media}/{path.stem}-{n}.txt" for n in numbers]


def write_csv(path, numbers):
    rows = [
        f"{file},caption {n}\n" for n, file in zip(numbers, files_of(path, numbers), strict=True)
    ]
    path.write_text("path,text\n" + "".join(rows))


def write_tsv(path, numbers):
    names = [Path(file).name for file in files_of(path, numbers)]
    root = path.parent.parent / f"media-{path.stem}"
    path.write_text(f"{root}\n" + "".join(f"{name}\t16000\n" for name in names))


def write_kaldi(path, numbers):
    files = files_of(path, numbers)
    path.write_text(
        "".join(f"{path.stem}-{n} {file}\n" for n, file in zip(numbers, files, strict=True))
    )


WRITERS = {
    "tar": write_tar,
    "parquet": write_parquet,
    "arrow": write_arrow,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "tsv": write_tsv,
    "scp": write_kaldi,
}
PLACES = ("first", "middle", "last")
# Every container in the middle, two of them everywhere; the other places take a minute more.
EVERYWHERE = [
    pytest.param(e, p, marks=[] if p == "middle" or e in ("tar", "csv") else pytest.mark.slow)
    for e in WRITERS
    for p in PLACES
]


def three(tmp_path, ending, place, numbers):
    """Three containers, of which one holds `numbers`, or is broken where there are none."""
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    paths = []
    for at in PLACES:
        path = folder / f"{PLACES.index(at)}.{ending}"
        if at != place:
            WRITERS[ending](path, range(6))
        elif numbers is None:
            path.unlink(missing_ok=True)
        else:
            WRITERS[ending](path, numbers)
        paths.append(path)
    return paths


def judged(inputs, output, tmp_path):
    """The rows are those of a job of its own over what is there now."""
    clean = tmp_path / f"clean-{time.monotonic_ns()}"
    summary = run(inputs, clean)
    assert contents(output) == contents(clean)
    assert sorted(error_ids(output)) == sorted(error_ids(clean))
    found = json.loads((output / "summary.json").read_text())
    assert found["num_inputs"] == summary.num_inputs
    assert found["num_rows"] == summary.num_rows
    job = json.loads((output / ".job" / "job.json").read_text())
    assert job["num_inputs"] == summary.num_inputs


@pytest.mark.parametrize(("ending", "place"), EVERYWHERE)
def test_a_container_that_comes_back_gives_all_its_rows(tmp_path, ending, place):
    """As it was found: one row written, 49 vanished, exit 0."""
    out = tmp_path / "out"
    inputs = three(tmp_path, ending, place, None)
    assert run(inputs, out).num_errors == 1
    before = shards(out)
    inputs = three(tmp_path, ending, place, range(50))
    with pytest.raises(ResumeError, match=r"--retry-errors(.|\n)*can be opened now.*50 inputs"):
        run(inputs, out)
    assert shards(out) == before
    summary = run(inputs, out, retry_errors=True)
    assert (summary.num_rows, summary.num_errors, summary.new_inputs) == (62, 0, 50)
    assert {name: shards(out)[name] for name in before} == before
    judged(inputs, out, tmp_path)
    assert run(inputs, out).new_inputs == 0


@pytest.mark.parametrize(("ending", "place"), EVERYWHERE)
def test_growth_is_refused_or_appended(tmp_path, ending, place):
    out = tmp_path / "out"
    run(three(tmp_path, ending, place, range(7)), out)
    before = shards(out)
    inputs = three(tmp_path, ending, place, range(12))
    for options in ({}, {"retry_errors": True}, {"redo_changed": True}):
        with pytest.raises(ResumeError, match=r"--append(.|\n)*grown: .*7 inputs before, 12 now"):
            run(inputs, out, **options)
    notes = Notes()
    assert run(inputs, out, append=True, notes=notes).new_inputs == 5
    assert {name: shards(out)[name] for name in before} == before
    first = f"shard-{len(before):06d}.parquet"
    assert f"5 inputs are new: from {first} on; 5 finished shards stay as they are" in notes.notes
    judged(inputs, out, tmp_path)
    # And once more, beside a new container.
    inputs = [*three(tmp_path, ending, place, range(13)), tmp_path / "in" / f"new.{ending}"]
    WRITERS[ending](inputs[-1], range(3))
    assert run(inputs, out, append=True).new_inputs == 4
    judged(inputs, out, tmp_path)
    assert run(inputs, out).new_inputs == 0


@pytest.mark.parametrize(("ending", "place"), EVERYWHERE)
def test_shrinking_is_refused_or_done_again(tmp_path, ending, place):
    out = tmp_path / "out"
    run(three(tmp_path, ending, place, range(12)), out)
    inputs = three(tmp_path, ending, place, range(5))
    for options in ({}, {"append": True}, {"retry_errors": True}):
        with pytest.raises(ResumeError, match=r"shrunk: .*12 inputs before, 5 now"):
            run(inputs, out, **options)
    run(inputs, out, redo_changed=True)
    judged(inputs, out, tmp_path)
    assert run(inputs, out).new_inputs == 0


@pytest.mark.parametrize("ending", WRITERS)
def test_other_contents_of_the_same_number_are_named_and_done_again(tmp_path, ending):
    out = tmp_path / "out"
    run(three(tmp_path, ending, "middle", [0, 1, 2, 3, 4, 5]), out)
    before = shards(out)
    inputs = three(tmp_path, ending, "middle", [0, 1, 2, 3, 4, 77])
    with pytest.raises(ResumeError, match=rf"--redo-changed(.|\n)*changed: .*1\.{ending}"):
        run(inputs, out)
    run(inputs, out, redo_changed=True)
    after = shards(out)
    assert [name for name in before if after[name] != before[name]] == ["shard-000002.parquet"]
    judged(inputs, out, tmp_path)


@pytest.mark.parametrize("ending", [*WRITERS, "png"])
def test_a_touched_container_or_file_is_the_same_input(tmp_path, ending):
    out = tmp_path / "out"
    if ending == "png":
        inputs = [tmp_path / f"{n}.png" for n in range(6)]
        for path in inputs:
            path.write_bytes(path.name.encode())
    else:
        inputs = three(tmp_path, ending, "middle", range(6))
    run(inputs, out)
    before = shards(out)
    for path in inputs:
        os.utime(path, (1, 1))
    assert run(inputs, out).new_inputs == 0
    assert shards(out) == before
    # The new times are written down, so that nothing has to be read again to compare.
    listing = (out / ".job" / "listing.jsonl").read_text()
    assert listing.count("1000000000]") == len(inputs)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "scp"])
def test_a_changed_last_line_is_no_growth(tmp_path, ending):
    """A manifest whose last line has no end yet, and then gets one, with more before it."""
    out = tmp_path / "out"
    (path,) = three(tmp_path, ending, "first", range(3))[:1]
    path.write_text(path.read_text().rstrip("\n"))
    run([path], out)
    WRITERS[ending](path, range(4))
    assert run([path], out, append=True).new_inputs == 1
    judged([path], out, tmp_path)
    if ending != "jsonl":
        path.write_text(path.read_text().rstrip("\n") + "x\n" + path.read_text().splitlines()[-1])
        with pytest.raises(ResumeError, match="changed"):
            run([path], out, append=True)


def test_a_tar_that_broke_off_and_is_whole_later(tmp_path):
    out, path = tmp_path / "out", tmp_path / "x.tar"
    write_tar(path, range(30))
    whole = path.read_bytes()
    path.write_bytes(whole[: 10 * 1024 + 300])
    run([path], out)
    assert error_ids(out) != []
    path.write_bytes(whole)
    with pytest.raises(ResumeError, match="grown"):
        run([path], out)
    run([path], out, append=True)
    assert today(out) == [f"failed before, might not now: {path} (1 of its inputs)"]
    run([path], out, retry_errors=True)
    judged([path], out, tmp_path)


def folder_of(tmp_path, names):
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.png").write_bytes(name.encode())
    return folder


@pytest.mark.parametrize("way", ["retry_errors", "redo_changed"])
def test_what_failed_inside_and_can_be_read_now_is_noticed(tmp_path, way):
    """A tar of one broken end, a text of other bytes: as many inputs, and none the same."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.tar").write_bytes(b"")
    (folder / "b.txt").write_bytes(b"\xff")
    (folder / "c.txt").write_text("c")
    write_jsonl(folder / "d.jsonl", [1])
    summary = run([folder], out)
    assert (summary.num_rows, summary.num_errors) == (2, 2)
    (folder / "b.txt").touch()
    assert run([folder], out).num_rows == 2  # touched, and as bad as before
    write_tar(folder / "a.tar", [1])
    (folder / "b.txt").write_text("b")
    with pytest.raises(ResumeError) as caught:
        run([folder], out, append=True)
    told = [line.strip() for line in str(caught.value).splitlines()]
    assert "--retry-errors to do what failed before; or use another" in told[0]
    assert told[1:] == [
        f"failed before, might not now: {folder}/{name} (an input)" for name in ("a.tar", "b.txt")
    ]
    assert "a.tar" in today(out)[0]
    run([folder], out, **{way: True})
    judged([folder], out, tmp_path)
    assert run([folder], out).num_rows == 4
    assert today(out) == []


def test_new_files_in_a_folder_come_behind_and_nothing_moves(tmp_path):
    out, folder = tmp_path / "out", folder_of(tmp_path, "bdfhjl")
    run([folder], out)
    before, number = shards(out), len(contents(out))
    folder_of(tmp_path, "acegik")
    (folder / "notes.xyz").write_text("?")
    with pytest.raises(ResumeError, match=r"--append to add what is new(.|\n)*added: .*a\.png"):
        run([folder], out)
    summary = run([folder], out, append=True, engine=LocalEngine(num_workers=2))
    assert (summary.new_inputs, summary.num_errors) == (7, 1)
    assert {name: shards(out)[name] for name in before} == before
    ids = [r["id"][0] for p in sorted(out.glob("*.parquet")) for r in read_shard(p).to_pylist()]
    assert ids == [*"bdfhjl", *"acegik"]
    assert len(contents(out)) == number + 6
    judged([folder], out, tmp_path)
    assert run([folder], out).new_inputs == 0


def test_an_appended_job_is_repaired_and_retried_as_any_other(tmp_path):
    out, folder = tmp_path / "out", folder_of(tmp_path, "bdfhjl")
    run([folder], out)
    folder_of(tmp_path, "ace")
    (folder / "g.png").write_bytes(b"BAD")
    run([folder], out, append=True)
    before = shards(out)
    for name in list(before)[1:]:
        (out / name).unlink()
    assert len(run([folder], out).repaired) == 2
    assert shards(out) == before
    folder_of(tmp_path, "g")
    run([folder], out, retry_errors=True)
    judged([folder], out, tmp_path)


def test_files_that_are_gone_leave_holes(tmp_path):
    out, folder = tmp_path / "out", folder_of(tmp_path, "abcdefghij")
    run([folder], out)
    before = shards(out)
    (folder / "b.png").unlink()
    (folder / "j.png").write_bytes(b"other bytes")
    with pytest.raises(ResumeError, match=r"removed: .*b\.png\n.*changed: .*j\.png \(1 bytes"):
        run([folder], out)
    notes = Notes()
    summary = run([folder], out, redo_changed=True, notes=notes)
    assert summary.new_inputs == 3 + 2
    assert shards(out)["shard-000001.parquet"] == before["shard-000001.parquet"]
    assert any("shard-000000.parquet, shard-000002.parquet made again" in n for n in notes.notes)
    judged([folder], out, tmp_path)
    # Another file in its place later is a new one.
    folder_of(tmp_path, "b")
    run([folder], out, append=True)
    judged([folder], out, tmp_path)


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path, monkeypatch):
    out, folder = tmp_path / "out", folder_of(tmp_path, "abcdef")
    run([folder], out)
    real = os.scandir

    def scandir(path):
        if str(path) == str(folder):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ResumeError, match=f"{folder}: .*cannot be opened now"):
        run([folder], out, append=True, redo_changed=True, retry_errors=True)
    monkeypatch.undo()
    assert run([folder], out).new_inputs == 0


def test_a_folder_that_could_not_be_read_at_first(tmp_path, monkeypatch):
    out, folder, other = tmp_path / "out", folder_of(tmp_path, "abcdef"), tmp_path / "z.png"
    other.write_bytes(b"z")
    real = os.scandir

    def scandir(path):
        if str(path) == str(folder):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert run([folder, other], out).num_errors == 1
    monkeypatch.undo()
    with pytest.raises(ResumeError, match="--retry-errors"):
        run([folder, other], out)
    run([folder, other], out, retry_errors=True)
    judged([folder, other], out, tmp_path)


def test_two_names_for_one_file_and_one_file_twice(tmp_path):
    out, folder = tmp_path / "out", folder_of(tmp_path, "ab")
    inputs = [folder, folder / "a.png", folder / "a.png"]
    run(inputs, out)
    folder_of(tmp_path, "c")
    run([*inputs, folder / "a.png"], out, append=True)
    ids = [r["id"] for p in sorted(out.glob("*.parquet")) for r in read_shard(p).to_pylist()]
    path = str(folder / "a.png")
    assert ids == ["a.png", "b.png", path, f"{path}#2", "c.png", f"{path}#3"]


def test_another_order_is_refused(tmp_path):
    out, folder = tmp_path / "out", folder_of(tmp_path, "ab")
    run([folder / "a.png", folder / "b.png"], out)
    with pytest.raises(ResumeError, match="the same inputs in another order"):
        run([folder / "b.png", folder / "a.png"], out, append=True)


def test_before_anything_is_made_inputs_may_be_others(tmp_path):
    out, folder = tmp_path / "out", folder_of(tmp_path, "ab")
    run([folder], out)
    for path in (out / ".job" / "done").iterdir():
        path.unlink()
    folder_of(tmp_path, "c")
    run([folder], out)
    judged([folder], out, tmp_path)


def test_a_caption_that_changed_is_a_change(tmp_path):
    out, folder = tmp_path / "out", folder_of(tmp_path, "abcde")
    (folder / "a.txt").write_text("a house")
    run([folder], out)
    (folder / "a.txt").write_text("a mouse, and more")
    with pytest.raises(ResumeError, match=r"changed: .*a\.png"):
        run([folder], out)
    run([folder], out, redo_changed=True)
    judged([folder], out, tmp_path)


@pytest.mark.parametrize("grows", [True, False])
def test_a_data_set_address(tmp_path, grows):
    out, path = tmp_path / "out", tmp_path / "rows.parquet"
    write_parquet(path, range(10))
    address = f"hf:parquet?data_files={path}"
    run([address], out)
    write_parquet(path, range(13 if grows else 7))
    with pytest.raises(ResumeError, match="grown: hf:" if grows else "shrunk: hf:"):
        run([address], out)
    run([address], out, **({"append": True} if grows else {"redo_changed": True}))
    judged([address], out, tmp_path)


def test_a_saved_data_set_that_grows(tmp_path):
    """`save_to_disk` again, with more rows: its one Arrow file has grown."""
    out, folder = tmp_path / "out", tmp_path / "data"

    def save(numbers):
        Dataset.from_dict({"text": [text(n) for n in numbers]}).save_to_disk(folder)

    save(range(6))
    run([folder], out)
    before = shards(out)
    save(range(9))
    with pytest.raises(ResumeError, match="grown: "):
        run([folder], out)
    run([folder], out, append=True)
    assert before.items() <= shards(out).items()
    judged([folder], out, tmp_path)


@pytest.mark.parametrize("count", [6, 13])
def test_a_stream_of_another_length_is_refused(tmp_path, count):
    out, path = tmp_path / "out", tmp_path / "rows.parquet"
    write_parquet(path, range(10))
    address = f"hf:parquet?data_files={path}&streaming=true"
    run([address], out)
    write_parquet(path, range(count))
    (out / "shard-000002.parquet").unlink()
    with pytest.raises(ResumeError, match="held 10 inputs when it was read before"):
        run([address], out)


def today(output):
    journal = open_journal(output)
    return differences_today(journal, journal.markers(), size=4, options=SourceOptions())


def test_what_failed_for_where_it_lies_is_no_change(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "list.csv").write_text("path\na.txt\n")
    (folder / "b.unknown").write_text("?")
    assert run([folder], out).num_errors == 2
    assert today(out) == []
    assert run([folder], out).num_errors == 2


@pytest.mark.parametrize("ending", WRITERS)
def test_verify_can_tell(tmp_path, ending):
    out = tmp_path / "out"
    run(three(tmp_path, ending, "middle", range(7)), out)
    assert today(out) == []
    paths = three(tmp_path, ending, "middle", range(9))
    os.utime(paths[0], (1, 1))
    assert today(out) == [f"grown: {paths[1]} (7 inputs before, 9 now)"]
    run(paths, out, append=True)
    assert today(out) == []
    three(tmp_path, ending, "middle", range(2))
    assert today(out) == [f"shrunk: {paths[1]} (9 inputs before, 2 now)"]
    paths[1].unlink()
    assert today(out) == []


@pytest.mark.parametrize("ending", WRITERS)
def test_verify_can_tell_what_can_be_opened_now(tmp_path, ending):
    out = tmp_path / "out"
    paths = three(tmp_path, ending, "middle", None)
    empty = tmp_path / "empty"
    empty.mkdir()
    run([*paths, empty], out)
    assert today(out) == []
    three(tmp_path, ending, "middle", range(50))
    (empty / "a.png").write_bytes(b"a")
    assert today(out) == [
        f"failed before, can be opened now: {paths[1]} (50 inputs)",
        f"failed before, can be opened now: {empty} (1 inputs)",
    ]


def media_manifest(tmp_path, ending):
    """Two files and a manifest that names them; Kaldi's with transcripts beside it."""
    names = [tmp_path / f"{n}.wav" for n in ("a", "b")]
    for path in names:
        path.write_bytes(path.name.encode())
    manifest = tmp_path / f"m.{ending}"
    if ending == "csv":
        manifest.write_text("path,text\na.wav,one\nb.wav,two\n")
    elif ending == "jsonl":
        rows = [{"path": "a.wav", "offset": 0}, {"path": "b.wav", "offset": 0}]
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == "parquet":
        pq.write_table(pa.table({"audio": ["a.wav", "b.wav"]}), manifest)
    else:
        manifest.write_text("u1 a.wav\nu2 b.wav\n")
        (tmp_path / "text").write_text("u1 one\nu2 two\n")
    return manifest, names


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "scp"])
def test_files_that_a_manifest_names_are_watched(tmp_path, ending, monkeypatch):
    monkeypatch.setattr("dvse.audio.stretch.read_stretch", lambda audio, **_: audio)
    manifest, (first, second) = media_manifest(tmp_path, ending)
    out = tmp_path / "out"
    run([manifest], out)
    before = shards(out)
    os.utime(first, (1, 1))
    assert today(out) == []
    assert run([manifest], out).new_inputs == 0
    second.write_bytes(b"other")
    assert today(out) == [f"changed: {manifest} (1 of its inputs: files, labels or texts)"]
    with pytest.raises(ResumeError, match="--redo-changed"):
        run([manifest], out)
    run([manifest], out, redo_changed=True)
    assert shards(out) != before
    judged([manifest], out, tmp_path)
    assert run([manifest], out).new_inputs == 0


def test_transcripts_beside_a_wav_scp_are_watched(tmp_path):
    manifest, _ = media_manifest(tmp_path, "scp")
    out = tmp_path / "out"
    run([manifest], out)
    (tmp_path / "text").write_text("u1 one\nu2 else\n")
    with pytest.raises(ResumeError, match="changed"):
        run([manifest], out)
    (tmp_path / "text").write_text("u1 one\nu2 two\n")
    (tmp_path / "segments").write_text("v1 u1 0 1\nv2 u2 0 1\n")
    with pytest.raises(ResumeError, match="changed"):
        run([manifest], out)


def test_a_folder_whose_names_become_labels(tmp_path):
    out, folder = tmp_path / "out", tmp_path / "in"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "a.png").write_bytes(b"a")
    run([folder], out)
    (folder / "dog").mkdir()
    (folder / "dog" / "b.png").write_bytes(b"b")
    with pytest.raises(ResumeError, match="changed"):
        run([folder], out, append=True)
    run([folder], out, append=True, redo_changed=True)
    assert [row[3] for row in contents(out)] == ["cat", "dog"]
    judged([folder], out, tmp_path)


def test_a_job_of_the_version_before_goes_on(tmp_path):
    out, folder = tmp_path / "out", folder_of(tmp_path, "abcdef")
    run([folder], out)
    job = json.loads((out / ".job" / "job.json").read_text())
    (out / ".job" / "job.json").write_text(json.dumps(job | {"format_version": 1}))
    for path in (out / ".job" / "done").iterdir():
        marker = json.loads(path.read_text())
        del marker["holes"]
        path.write_text(json.dumps(marker))
    assert run([folder], out).new_inputs == 0
    folder_of(tmp_path, "g")
    run([folder], out, append=True)
    judged([folder], out, tmp_path)
    (out / ".job" / "job.json").write_text(json.dumps(job | {"format_version": 4}))
    with pytest.raises(ResumeError, match="another version of DVSE"):
        run([folder], out)
