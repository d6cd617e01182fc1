"""fsspec's store in memory: all its readers share one handle."""

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile

from dvse.remote import object_store


@pytest.fixture
def address():
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    object_store.write("memory://bucket/listing", b"a line\n" * 100)
    yield "memory://bucket/listing"
    fs.store.clear()


def test_a_download_is_whole_though_somebody_else_reads_the_same_handle(
    address, tmp_path, monkeypatch
):
    plain = MemoryFile.read

    def read(self, *args):
        self.seek(0, 2)  # whoever else reads it has come to its end
        return plain(self, *args)

    monkeypatch.setattr(MemoryFile, "read", read)
    object_store.download(address, str(tmp_path / "listing"))
    assert (tmp_path / "listing").read_bytes() == b"a line\n" * 100
    assert object_store.read(address) == b"a line\n" * 100


def test_an_upload_is_there_whole_or_not_at_all(address, tmp_path, monkeypatch):
    def write(self, data):
        pytest.fail("an object is there, and something is yet to be written to it")

    monkeypatch.setattr(MemoryFile, "write", write, raising=False)
    (tmp_path / "names").write_bytes(b"a name\n" * 100)
    object_store.upload(str(tmp_path / "names"), "memory://bucket/names")
    assert object_store.read("memory://bucket/names") == b"a name\n" * 100
