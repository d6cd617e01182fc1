"""Faults that pass are tried again after pauses; all others are errors at once. No test sleeps."""

import errno
import io
import json
import os
import tarfile
import urllib.error
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_step import FakeStep

from dvse.remote.patience import Patience, is_passing
from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job

PLACES = (
    "pipelines.engines.preparing",
    "pipelines.job.plan",
    "pipelines.sources.listing",
    "pipelines.sources.entry",
    "pipelines.sources.tree",
)
CODES = [errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.ECONNRESET]


@pytest.fixture
def slept(monkeypatch):
    """The pauses that were made, by a clock that does not wait."""
    pauses = []
    for place in PLACES:
        monkeypatch.setattr(f"{place}.PATIENCE", Patience(sleep=pauses.append))
    return pauses


def failing(monkeypatch, owner, name, path, code, times):
    """Let a function fail with an errno the first few times that it gets `path`."""
    real, left = getattr(owner, name), [times]

    def call(first, *rest, **options):
        if os.fspath(first) == os.fspath(path) and left[0] > 0:
            left[0] -= 1
            raise OSError(code, os.strerror(code))
        return real(first, *rest, **options)

    monkeypatch.setattr(owner, name, call)
    return left


def run(inputs, output):
    config = JobConfig(inputs=[str(i) for i in inputs], output=output, shard_size=4)
    return Job(config, FakeStep(), InlineEngine()).run()


def http_error(status):
    request = httpx.Request("GET", "http://localhost/x")
    return httpx.HTTPStatusError(
        "no", request=request, response=httpx.Response(status, request=request)
    )


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        *((OSError(code, "?"), True) for code in CODES),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (http_error(503), True),
        (http_error(429), True),
        (http_error(404), False),
        (urllib.error.HTTPError("http://localhost", 502, "bad", {}, io.BytesIO()), True),
        (urllib.error.HTTPError("http://localhost", 403, "no", {}, io.BytesIO()), False),
        (FileNotFoundError(errno.ENOENT, "?"), False),
        (PermissionError(errno.EACCES, "?"), False),
        (OSError(errno.ENOSPC, "?"), False),
        (ValueError("broken"), False),
    ],
    ids=repr,
)
def test_which_faults_pass(error, passes):
    assert is_passing(error) is passes
    wrapped = RuntimeError("of a library")
    wrapped.__cause__ = error
    assert is_passing(wrapped) is passes


def test_the_pauses_grow_and_then_it_is_an_error():
    pauses, tries = [], []

    def fail():
        tries.append(1)
        raise OSError(errno.EIO, "?")

    with pytest.raises(OSError, match=r"Errno 5"):
        Patience(sleep=pauses.append).call(fail)
    assert (pauses, len(tries)) == ([0.2, 1.0, 4.0], 4)
    assert pauses == sorted(pauses)


def test_an_iterator_goes_on_behind_its_last_item_with_new_patience():
    pauses, begun = [], []

    def begin(number):
        begun.append(number)
        for item in range(number, 9):
            yield item
            if item % 3 == 2 and len(begun) < 20:
                raise OSError(errno.ESTALE, "?")

    assert list(Patience(sleep=pauses.append).items(begin)) == list(range(9))
    assert begun == [0, 3, 6, 9]
    assert pauses == [0.2] * 3


@pytest.mark.parametrize("code", CODES)
def test_a_file_is_read_again(tmp_path, monkeypatch, slept, code):
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for path in paths:
        path.write_bytes(path.name.encode())
    failing(monkeypatch, Path, "read_bytes", paths[1], code, 3)
    summary = run(paths, tmp_path / "out")
    assert (summary.num_rows, slept) == (3, [0.2, 1.0, 4.0])
    failing(monkeypatch, Path, "read_bytes", paths[1], code, 9)
    run(paths, tmp_path / "other")
    (line,) = map(json.loads, (tmp_path / "other" / "errors.jsonl").read_text().splitlines())
    assert (line["stage"], line["type"]) == ("read", "UnreadableFileError")


def test_a_missing_file_is_an_error_at_once(tmp_path, slept):
    run([tmp_path / "gone.png"], tmp_path / "out")
    assert slept == []


def test_a_caption_is_not_lost_to_a_passing_fault(tmp_path, monkeypatch, slept):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"a")
    (tmp_path / "in" / "a.txt").write_text("a house")
    failing(monkeypatch, Path, "read_bytes", tmp_path / "in" / "a.txt", errno.EIO, 1)
    run([tmp_path / "in"], tmp_path / "out")
    texts = pq.read_table(tmp_path / "out" / "shard-000000.parquet")["text"].to_pylist()
    assert texts == ["a house", None]
    assert slept == [0.2]


def test_a_folder_and_a_stamp_are_looked_at_again(tmp_path, monkeypatch, slept):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"a")
    failing(monkeypatch, os, "scandir", folder, errno.ESTALE, 2)
    failing(monkeypatch, os, "stat", folder, errno.EIO, 1)
    assert run([folder], tmp_path / "out").num_rows == 1
    assert slept == [0.2, 0.2, 1.0]


class Flaky:
    """A file whose reads beyond the first blocks fail with EIO a few times."""

    def __init__(self, file, left):
        self._file, self._left = file, left

    def read(self, size=-1):
        if self._file.tell() >= 4096 and self._left:
            self._left.pop()
            raise OSError(errno.EIO, "Input/output error")
        return self._file.read(size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("num_faults", [1, 3])
def test_a_tar_does_not_break_off(tmp_path, monkeypatch, slept, num_faults):
    """A read that failed was taken for the end of the archive: what followed was lost."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(20):
            info = tarfile.TarInfo(f"{number}.txt")
            info.size = 5
            archive.addfile(info, io.BytesIO(b"%5d" % number))
    faults = [1] * num_faults

    class FlakyPath(type(path)):
        def open(self, *how):
            return Flaky(super().open(*how), faults)

    monkeypatch.setattr("pipelines.sources.tars.location", FlakyPath)
    summary = run([path], tmp_path / "out")
    assert (summary.num_rows, summary.num_errors, faults) == (20, 0, [])
    assert len(slept) == num_faults


def test_a_parquet_file_that_would_not_open_is_opened_again(tmp_path, monkeypatch, slept):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a", "b"]}), path)
    left = failing(monkeypatch, pq, "ParquetFile", path, errno.ETIMEDOUT, 3)
    summary = run([path], tmp_path / "out")
    assert (summary.num_rows, summary.num_errors, left) == (2, 0, [0])
