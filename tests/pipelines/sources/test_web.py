"""Inputs behind http://, from a plain web server that knows no ranges."""

import json
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dvse.errors import MissingFileError
from dvse.remote.remote_path import RemotePath
from pipelines.sources.listing import Lister
from pipelines.sources.registry import SourceOptions, make_source

DATA = bytes(range(256)) * 3000


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def web(tmp_path):
    """A folder behind an address."""
    pytest.importorskip("aiohttp")
    folder = tmp_path / "web"
    (folder / "clips").mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_files_are_read_whole_and_by_ranges(web):
    folder, address = web
    (folder / "a.png").write_bytes(DATA)
    path = RemotePath(f"{address}/a.png")
    assert path.info().size == len(DATA)
    assert path.read_bytes() == DATA
    with path.open() as file:
        file.seek(400_000)
        assert file.read(5) == DATA[400_000:400_005]
    with pytest.raises(MissingFileError, match="no such object"):
        RemotePath(f"{address}/b.png").read_bytes()


def test_pictures_tars_and_manifests_are_inputs(web):
    folder, address = web
    (folder / "a.png").write_bytes(b"a picture")
    (folder / "clips" / "b.wav").write_bytes(b"a recording")
    with tarfile.open(folder / "t.tar", "w") as archive:
        archive.add(folder / "a.png", arcname="x.png")
    line = {"audio_filepath": "clips/b.wav", "text": "seven"}
    (folder / "m.jsonl").write_text(json.dumps(line) + "\n")
    names = ["a.png?version=1", "t.tar", "m.jsonl", "gone.png"]
    entries = list(Lister(SourceOptions()).entries([f"{address}/{name}" for name in names]))
    assert [entry.kind for entry in entries] == ["image", "tar", "jsonl", "image"]
    found = []
    for entry in entries[:3]:
        (record,) = make_source(entry.kind, SourceOptions()).records(entry)
        found.append([ref.place.read() for ref in record.refs])
    assert found == [[b"a picture"], [b"a picture"], [b"a recording"]]
    (gone,) = make_source("image", SourceOptions()).records(entries[3])
    with pytest.raises(MissingFileError):  # in the worker, as of a file that is not there
        gone.refs[0].place.read()


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("a b.png", "a b.png"),
        ("a b.png", "a%20b.png"),
        ("50%.png", "50%25.png"),
        ("a%20b.png", "a%2520b.png"),
        ("ü.png", "ü.png"),
        ("ü.png", "%C3%BC.png"),
        ("q?x.png", "q%3Fx.png"),
        ("a#1.png", "a%231.png"),
        ("a+b&c.png", "a+b&c.png"),
        ("[x].png", "[x].png"),
    ],
)
def test_odd_names_are_asked_for_as_they_are_typed(web, name, asked):
    folder, address = web
    (folder / name).write_bytes(b"a picture")
    (entry,) = Lister(SourceOptions()).entries([f"{address}/{asked}"])
    (record,) = make_source(entry.kind, SourceOptions()).records(entry)
    assert entry.stamp.size == 9
    assert record.refs[0].place.read() == b"a picture"
