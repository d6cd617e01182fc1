"""Exports from and to a store have the bytes of those of a disk, and are there whole or not."""

import fsspec
import pytest
from token_folder import write_folder

from dvse.errors import ConfigError, ShardError, StorageError
from dvse.remote import object_store
from dvse.remote.remote_path import RemotePath
from pipelines.export import in_store
from pipelines.export.export import export
from pipelines.export.formats import find_format
from pipelines.export.settings import ExportSettings
from pipelines.export.verification import verify_export


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(in_store.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield RemotePath("memory://bucket")
    fs.store.clear()


@pytest.fixture
def tokens(tmp_path, store):
    """Token shards on a disk, and the same in a store."""
    write_folder(tmp_path / "tokens", num_shards=3, rows=12)
    for path in (tmp_path / "tokens").glob("*.parquet"):
        (store / "tokens" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "tokens"


def settings(tokens, output):
    return ExportSettings(
        tokens=tokens, output=output, splits={"train": 0.7, "valid": 0.3}, piece_bytes=2_000
    )


def files(folder):
    if isinstance(folder, RemotePath):
        found = {str(p)[len(str(folder)) + 1 :]: p.read_bytes() for p in folder.rglob("*")}
    else:
        found = {
            p.relative_to(folder).as_posix(): p.read_bytes()
            for p in folder.rglob("*")
            if p.is_file() and ".export" not in p.parts
        }
    return found


@pytest.mark.parametrize("name", ["megatron", "webdataset", "mds", "datasets"])
def test_the_same_files_lie_in_the_store(tmp_path, store, tokens, name):
    kind = find_format(name)
    export(kind, settings(tokens, tmp_path / "out"))
    export(kind, settings(store / "tokens", store / "out"))
    assert files(store / "out") == files(tmp_path / "out")
    assert not list((tmp_path / "tmp").iterdir()), "nothing is left on this machine"
    found = verify_export(store / "out", store / "tokens")
    assert (found.problems, found.num_ids) == ([], verify_export(tmp_path / "out", tokens).num_ids)


def test_a_broken_upload_leaves_no_manifest_and_is_gone_on_with(
    tmp_path, store, tokens, monkeypatch
):
    kind, real, uploaded = find_format("mds"), object_store.upload, []

    def failing(file, address):
        if len(uploaded) == 3:
            raise StorageError("the store does not answer")
        uploaded.append(address)
        real(file, address)

    monkeypatch.setattr(object_store, "upload", failing)
    with pytest.raises(StorageError, match="does not answer"):
        export(kind, settings(tokens, store / "out"))
    with pytest.raises(ShardError, match="finished"):
        verify_export(store / "out", tokens)
    monkeypatch.setattr(object_store, "upload", lambda f, a: (uploaded.append(a), real(f, a))[1])
    export(kind, settings(tokens, store / "out"))
    assert len(uploaded) == len(set(uploaded)) == len(files(store / "out"))
    assert verify_export(store / "out", tokens).problems == []
    (store / "out" / next(n for n in files(store / "out") if n.endswith(".mds"))).unlink()
    assert "missing" in verify_export(store / "out", tokens).problems[0]


def test_foreign_objects_are_refused(store, tokens):
    (store / "out" / "notes.md").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="no export"):
        export(find_format("mds"), settings(tokens, store / "out"))


def test_overwriting_deletes_the_export_alone(tmp_path, store, tokens):
    export(find_format("webdataset"), settings(tokens, store / "out"))
    (store / "out" / "notes.md").write_bytes(b"mine")
    export(find_format("mds"), settings(tokens, store / "out"), overwrite=True)
    export(find_format("mds"), settings(tokens, tmp_path / "out"))
    assert files(store / "out") == files(tmp_path / "out") | {"notes.md": b"mine"}
