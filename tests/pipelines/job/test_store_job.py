"""A job that reads from and writes to a store: here fsspec's own, in memory."""

import io
import json
import tarfile
from dataclasses import replace

import fsspec
import pytest
from fake_step import FakeStep

from dvse.dataset.token_dataset import TokenDataset
from dvse.errors import ConfigError, JobError, ResumeError
from dvse.remote.remote_path import RemotePath, location, writable_location
from dvse.storage.local_cache import LocalCache
from dvse.storage.shard import find_shards, read_shard
from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.job.open_journal import open_journal
from pipelines.sources.tars import TarSource


@pytest.fixture
def store():
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield RemotePath("memory://bucket")
    fs.store.clear()


def fill(folder, count=20):
    """The same files in a store or a directory: every seventh is bad, one has a caption."""
    for number in range(count):
        data = b"BAD" if number % 7 == 3 else b"picture %d" % number
        path = folder / f"d{number % 2}" / f"p{number:03d}.png"
        if not isinstance(path, RemotePath):
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "d0" / "p000.txt").write_bytes(b"a caption")
    (folder / "d0.txt").write_bytes(b"beside the folder")
    return folder


def run(inputs, output, **options):
    config = JobConfig(inputs=[str(i) for i in inputs], output=output, shard_size=4, **options)
    return Job(config, FakeStep(), InlineEngine()).run()


def rows(output):
    found = []
    for shard in find_shards(output):
        found += read_shard(shard).drop_columns(["source"]).to_pylist()
    return found


def errors(output):
    lines = map(json.loads, (output / "errors.jsonl").read_bytes().splitlines())
    return [{k: v for k, v in line.items() if k != "source"} for line in lines]


def test_a_container_in_a_store_is_counted_once(store, monkeypatch):
    with tarfile.open(fileobj=(data := io.BytesIO()), mode="w:gz") as archive:
        for number in range(6):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = 2
            archive.addfile(info, io.BytesIO(b"%02d" % number))
    (store / "in" / "a.tar.gz").write_bytes(data.getvalue())
    opened, contents = [], TarSource.contents
    monkeypatch.setattr(
        TarSource,
        "contents",
        lambda self, entry: opened.append(entry.path) or contents(self, entry),
    )
    assert run([store / "in"], store / "out").num_rows == 6
    assert run([store / "in"], store / "out").new_inputs == 0
    assert run([store / "in"], store / "out", trust_folders=True).new_inputs == 0
    assert len(opened) == 1


def objects(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def test_the_rows_of_a_store_are_those_of_a_disk(tmp_path, store):
    fill(store / "in")
    fill(tmp_path / "in")
    from_disk = run([tmp_path / "in"], tmp_path / "out")
    from_store = run([store / "in"], store / "out")
    assert replace(from_store, seconds=0, work_seconds=0) == replace(
        from_disk, seconds=0, work_seconds=0
    )
    assert rows(store / "out") == rows(tmp_path / "out")
    assert errors(store / "out") == errors(tmp_path / "out")
    assert len(rows(store / "out")) + len(errors(store / "out")) == 22


def test_reading_from_a_disk_the_shards_in_a_store_have_the_same_bytes(tmp_path, store):
    fill(tmp_path / "in")
    run([tmp_path / "in"], tmp_path / "out")
    run([tmp_path / "in"], store / "out")
    local, remote = objects(tmp_path / "out"), objects(store / "out")
    assert list(local.values()) == list(remote.values())
    assert [name[:12] for name in remote] == [name[:12] for name in local]


def test_a_finished_job_is_not_done_again_and_what_is_missing_is(tmp_path, store):
    fill(store / "in")
    run([store / "in"], store / "out")
    before = objects(store / "out")
    assert run([store / "in"], store / "out").new_inputs == 0
    victim = next(iter(before))
    (store / "out" / victim).unlink()
    again = run([store / "in"], store / "out")
    assert (again.new_inputs, len(again.repaired)) == (4, 1)
    assert objects(store / "out") == before
    (store / "out" / victim).write_bytes(b"PAR1")
    assert run([store / "in"], store / "out").new_inputs == 4
    assert objects(store / "out") == before


def test_orphans_are_named_and_swept(store):
    fill(store / "in")
    run([store / "in"], store / "out")
    before = objects(store / "out")
    orphan = "shard-000001-00000000deadbeef.parquet"
    (store / "out" / orphan).write_bytes(b"what a slower writer left")
    journal = open_journal(store / "out")
    assert journal.orphans(journal.markers()) == [orphan]
    assert [path.name for path in find_shards(store / "out")] == list(before)
    run([store / "in"], store / "out")
    assert objects(store / "out") == before


def test_a_shard_without_a_marker_is_left_to_its_writer(store):
    fill(store / "in")
    run([store / "in"], store / "out")
    early = store / "out" / "shard-000099-00000000deadbeef.parquet"
    early.write_bytes(b"its marker is about to come")
    run([store / "in"], store / "out")
    assert early.exists()


def test_of_two_writers_of_a_partition_one_wins(store):
    fill(store / "in")
    run([store / "in"], store / "out")
    first, second = open_journal(store / "out"), open_journal(store / "out")
    marker = replace(first.markers()[0], sha256="a" * 64)
    first.forget(0)
    other = replace(marker, sha256="b" * 64)
    assert first.commit(marker, memoryview(b"one"), []).sha256 == "a" * 64
    assert second.commit(other, memoryview(b"two"), []).sha256 == "a" * 64
    assert [n for n in objects(store / "out") if n.startswith("shard-000000-a")]
    assert not [n for n in objects(store / "out") if n.startswith("shard-000000-b")]


def test_failed_inputs_are_tried_again(store):
    fill(store / "in")
    run([store / "in"], store / "out")
    for path in (store / "in" / "d1").glob("*.png"):
        if path.read_bytes() == b"BAD":
            path.write_bytes(b"GOOD")
    with pytest.raises(ResumeError, match="changed"):
        (store / "in" / "d0" / "p000.png").write_bytes(b"another picture")
        run([store / "in"], store / "out")
    run([store / "in"], store / "out", retry_errors=True, redo_changed=True)
    assert [line["id"] for line in errors(store / "out")] == ["d0/p010.png"]
    markers = open_journal(store / "out").markers().values()
    assert sorted(objects(store / "out")) == sorted(m.shard_name for m in markers)


def test_what_is_added_goes_behind(store):
    fill(store / "in", 10)
    run([store / "in"], store / "out")
    before = objects(store / "out")
    fill(store / "in", 13)
    with pytest.raises(ResumeError, match="added"):
        run([store / "in"], store / "out")
    run([store / "in"], store / "out", append=True)
    now = objects(store / "out")
    assert now.items() >= before.items()
    assert len(now) == len(before) + 1


def test_overwriting_deletes_the_job_alone(store):
    fill(store / "in")
    run([store / "in"], store / "out")
    (store / "out" / "notes.md").write_bytes(b"mine")
    run([store / "in" / "d0"], store / "out", overwrite=True)
    assert len(rows(store / "out")) < 12
    assert (store / "out" / "notes.md").read_bytes() == b"mine"


def test_foreign_shards_are_refused(store):
    fill(store / "in")
    (store / "out" / "shard-000000.parquet").write_bytes(b"not ours")
    with pytest.raises(ConfigError, match="belongs to no job"):
        run([store / "in"], store / "out")


def test_a_store_that_overwrites_in_spite_of_the_condition_is_refused(store, monkeypatch):
    fill(store / "in")
    real = fsspec.implementations.memory.MemoryFileSystem.pipe_file
    monkeypatch.setattr(
        fsspec.implementations.memory.MemoryFileSystem,
        "pipe_file",
        lambda self, path, value, mode="overwrite", **more: real(self, path, value, **more),
    )
    with pytest.raises(JobError, match="honours conditional puts"):
        run([store / "in"], store / "out")


def test_the_output_is_no_input(store):
    fill(store / "data")
    run([store / "data"], store / "data" / "out")
    assert run([store / "data"], store / "data" / "out").new_inputs == 0


def test_a_dataset_reads_from_a_store_through_a_bounded_cache(tmp_path, store):
    for number in range(40):
        (store / "in" / f"p{number:03d}.png").write_bytes(b"picture %d" % number)
    run([store / "in"], store / "out")
    run([store / "in"], tmp_path / "out")

    def batches(folder, **options):
        data = TokenDataset(folder, batch_size=2, length=64, seed=3, **options)
        return [batch.input_ids.tolist() for _ in range(2) for batch in data]

    bound = 4 * 512
    cache = LocalCache(folder=tmp_path / "cache", max_bytes=bound)
    # Names of shards decide nothing but the order in which they are listed.
    assert batches(str(store / "out"), cache=cache) == batches(tmp_path / "out")
    kept = [path.stat().st_size for path in (tmp_path / "cache").glob("*.npy")]
    assert kept and sum(kept) <= bound
    assert batches(str(store / "out"), use_cache=False) == batches(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://user:secret@bucket/a", "without a secret"),
        ("https://host/a.png?X-Amz-Signature=secret", "without a secret"),
        ("https://host/a.png?token=secret", "without a secret"),
        ("https://host/a.png?jwt=secret", "without a secret"),
        ("https://host/a.png?sp=r&sig=secret", "without a secret"),
        ("gs://bucket/a?X-Goog-Credential=secret", "without a secret"),
        ("hf://datasets/me/set?access_token=secret", "without a secret"),
        ("ftp://host/a.png", "begins with s3://"),
        ("s3://", "bucket or host"),
    ],
)
def test_addresses_that_are_refused(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        location(text)
    assert "secret@" not in str(caught.value) and "=secret" not in str(caught.value)


def test_what_can_only_be_read_is_no_output():
    with pytest.raises(ConfigError, match="not written to"):
        writable_location("https://host/tokens")
