"""Compressed tars are read once, and whatever is kept of them changes nothing of what is found."""

import bz2
import gzip
import io
import lzma
import random
import tarfile

import pytest
from fake_step import FakeStep

from dvse.remote.remote_path import RemotePath
from dvse.storage.shard import find_shards, read_shard
from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.job.part_job import PartJob
from pipelines.sources import tars, unpacked
from pipelines.sources.entry import Entry, Stamp
from pipelines.sources.tars import TarSource
from pipelines.sources.unpacked import Unpacked

MODES = {"a.tar.gz": "w:gz", "b.tar.bz2": "w:bz2", "c.tar.xz": "w:xz"}


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    return bounded(monkeypatch, 1 << 30)


def bounded(monkeypatch, most_bytes):
    fresh = Unpacked(most_bytes=most_bytes)
    monkeypatch.setattr(tars, "UNPACKED", fresh)
    return fresh


@pytest.fixture
def opened(monkeypatch):
    """Names of compressed files that were unpacked from their beginning."""
    names = []

    def counted(opener):
        def call(file):
            names.append(getattr(file, "name", None) or "in a store")
            return opener(file)

        return call

    for magic, opener in list(unpacked._OPENERS.items()):
        monkeypatch.setitem(unpacked._OPENERS, magic, counted(opener))
    real = tarfile.open

    def plain(*, fileobj, mode, **kw):
        if mode == "r:*":
            names.append(getattr(fileobj, "name", None) or "in a store")
        return real(fileobj=fileobj, mode=mode, **kw)

    monkeypatch.setattr(tarfile, "open", plain)
    return names


def packed(mode, count=20, *, size=3000):
    with tarfile.open(fileobj=(data := io.BytesIO()), mode=mode) as archive:
        for number in range(count):
            for name, content in (
                (f"{number:03d}.png", random.Random(number).randbytes(size)),
                (f"{number:03d}.txt", b"text %d" % number),
                (f"._{number:03d}.png", b"?"),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def run(inputs, output, job=Job, **options):
    config = JobConfig(inputs=[str(inputs)], output=output, shard_size=7, **options)
    return job(config, FakeStep(), InlineEngine()).run()


def state(output):
    shards = [path.read_bytes() for path in find_shards(output)]
    return shards, (output / "errors.jsonl").read_bytes()


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, mode in MODES.items():
        (folder / name).write_bytes(packed(mode))
    return folder


def test_a_job_reads_each_compressed_tar_once(inputs, tmp_path, opened, kept, monkeypatch):
    assert run(inputs, tmp_path / "out").num_rows == 60
    assert sorted(opened) == sorted(str(inputs / name) for name in MODES)
    assert kept._file.seek(0, io.SEEK_END) == 0, "what is done takes no room"
    assert run(inputs, tmp_path / "out").new_inputs == 0
    assert len(opened) == 3
    bounded(monkeypatch, 0)
    assert run(inputs, tmp_path / "twice").num_rows == 60
    assert len(opened) == 3 + 6, "to count and to tokenise"
    assert state(tmp_path / "out") == state(tmp_path / "twice")


def test_of_two_that_find_no_room_together_one_is_read_again(inputs, tmp_path, opened, monkeypatch):
    bounded(monkeypatch, 150_000)  # one holds some 100,000 bytes
    assert run(inputs, tmp_path / "out").num_rows == 60
    assert [opened.count(str(inputs / name)) for name in MODES] == [1, 2, 2]
    bounded(monkeypatch, 0)
    run(inputs, tmp_path / "twice")
    assert state(tmp_path / "out") == state(tmp_path / "twice")


def test_a_part_that_plans_reads_it_once_and_another_one_once(
    inputs, tmp_path, opened, monkeypatch
):
    run(inputs, tmp_path / "out", PartJob, part="1/2")
    assert len(opened) == 3
    bounded(monkeypatch, 1 << 30)  # another machine
    run(inputs, tmp_path / "out", PartJob, part="2/2")
    assert len(opened) == 5, "the two that it has a share of"
    run(inputs, tmp_path / "whole")
    assert state(tmp_path / "out") == state(tmp_path / "whole")


def test_of_a_store_it_is_fetched_once(tmp_path, opened):
    store = RemotePath("memory://unpacked/in")
    (store / "a.tar.gz").write_bytes(packed("w:gz"))
    assert run(store, tmp_path / "out").num_rows == 20
    assert opened == ["in a store"]


def test_one_that_changes_between_plan_and_reading_is_what_was_planned(inputs, tmp_path, kept):
    path = inputs / "a.tar.gz"
    entry = Entry(kind="tar", path=str(path), name="a", stamp=Stamp.of(str(path)))
    source = TarSource(None)
    assert source.contents(entry).num_inputs == 20
    path.write_bytes(packed("w:gz", 3))
    assert len(list(source.records(entry))) == 20
    now = entry._replace(stamp=Stamp.of(str(path)))
    assert len(list(source.records(now))) == 3


def found(path, room, monkeypatch):
    """All that is said of an archive."""
    bounded(monkeypatch, room)
    source = TarSource(None)
    entry = Entry(kind="tar", path=str(path), name=path.name, stamp=Stamp.of(str(path)))
    contents = source.contents(entry)
    first = [record.refs and record.refs[0].place.read() for record in source.records(entry, 1)]
    return contents, list(source.ids(entry)), first, list(source.records(entry))


@pytest.mark.parametrize(("pack", "mode"), [
    (gzip.compress, "w:gz"), (bz2.compress, "w:bz2"), (lzma.compress, "w:xz")
])  # fmt: skip
def test_what_is_broken_anywhere_is_told_as_without(tmp_path, monkeypatch, pack, mode):
    whole, path, rng = packed(mode, 5, size=700), tmp_path / "x.tar.any", random.Random(mode)
    broken = [whole, b"", whole[:1], whole[:5], whole[:20], whole + b"\0" * 3000, whole + b"tail"]
    broken += [whole + whole, whole + whole[: len(whole) // 2], pack(b""), pack(b"\0" * 20_000)]
    broken += [pack(b"no archive at all"), pack(whole), packed("w", 5), packed("w", 0)]
    broken += [whole[: rng.randrange(len(whole))] for _ in range(25)]
    for _ in range(40):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        broken.append(bytes(data))
    for data in broken:
        path.write_bytes(data)
        assert found(path, 1 << 30, monkeypatch) == found(path, 0, monkeypatch)


def test_a_full_disk_keeps_nothing_and_costs_nothing(inputs, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(unpacked.os, "pwrite", full)
        assert run(inputs, tmp_path / "out").num_rows == 60
    with monkeypatch.context() as patch:
        patch.setattr(unpacked.tempfile, "TemporaryFile", full)
        bounded(monkeypatch, 1 << 30)
        assert run(inputs, tmp_path / "none").num_rows == 60
    assert [len(read_shard(path)) for path in find_shards(tmp_path / "none")][:2] == [7, 7]
    assert state(tmp_path / "out") == state(tmp_path / "none")
