"""What DVSE asks of a store, asked of a real S3 server, with the faults of networks and stores."""

import io
import tarfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dvse.errors import CredentialsError, MissingFileError, StorageError, UnreadableFileError
from dvse.remote import object_store
from dvse.remote.remote_path import RemotePath

DATA = bytes(range(256)) * 4000


def held(s3, bucket, key):
    """The object as another client sees it."""
    return s3.client.get_object(Bucket=bucket.address[5:], Key=key)["Body"].read()


def test_objects_are_written_read_listed_and_deleted(s3, bucket):
    place = bucket / "a" / "b.bin"
    place.write_bytes(DATA)
    assert held(s3, bucket, "a/b.bin") == DATA
    assert place.read_bytes() == DATA
    assert object_store.read(place.address, 1000, 1007) == DATA[1000:1007]
    (bucket / "a.txt").write_bytes(b"x")
    (bucket / "a" / "c" / "d.txt").write_bytes(b"")
    assert [(o.address, o.size, o.is_folder) for o in object_store.children(bucket.address)] == [
        (f"{bucket}/a", 0, True),
        (f"{bucket}/a.txt", 1, False),
    ]
    assert [p.name for p in (bucket / "a").iterdir()] == ["b.bin", "c"]
    tree = object_store.tree(bucket.address)
    assert [o.address[len(bucket.address) :] for o in tree] == ["/a.txt", "/a/b.bin", "/a/c/d.txt"]
    assert (bucket / "a").is_dir() and place.is_file() and not (bucket / "z").exists()
    before = place.info().version
    place.write_bytes(DATA[::-1])
    assert place.info().version != before
    place.unlink()
    place.unlink()
    assert not place.exists()
    with pytest.raises(MissingFileError, match="no such object"):
        place.read_bytes()
    assert list((bucket / "nothing" / "here").glob("*")) == []


def test_more_objects_than_one_answer_lists(s3, bucket):
    names = [f"k{n:04d}" for n in range(1003)]
    from moto.s3.models import s3_backends

    backend = s3_backends["123456789012"]["aws"]  # a thousand requests would take half a minute
    for name in names:
        backend.put_object(bucket.address[5:], f"many/{name}", b"")
    assert [p.name for p in (bucket / "many").iterdir()] == names


def test_a_conditional_put_is_refused_where_an_object_is(s3, bucket):
    place = bucket / "done" / "000000.json"
    assert object_store.create(place.address, b"mine")
    assert not object_store.create(place.address, b"theirs")
    assert object_store.create(place.address, b"mine"), "the same bytes are as good as ours"
    assert held(s3, bucket, "done/000000.json") == b"mine"


@pytest.mark.parametrize("kind", ["500", "503", "cut", "lost", "slow"])
def test_a_read_that_fails_is_tried_again(s3, bucket, monkeypatch, kind):
    if kind == "slow":  # others may take as long as a busy machine needs
        monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 1.5}})
        s3.faults.slow_s = 4.0
    (bucket / "a.bin").write_bytes(DATA)
    s3.faults.plan(kind, "GET", "a.bin", times=2)
    assert (bucket / "a.bin").read_bytes() == DATA
    assert [f[0] for f in s3.faults.happened] == [kind, kind]
    if kind != "lost":  # aiohttp itself asks again where a kept connection was closed
        assert s3.slept == [0.2, 1.0], "tries are counted in one place"


@pytest.mark.parametrize("kind", ["500", "503", "lost"])
def test_a_write_that_fails_is_tried_again(s3, bucket, kind):
    s3.faults.plan(kind, "PUT", "a.bin", times=3)
    (bucket / "a.bin").write_bytes(DATA)
    assert held(s3, bucket, "a.bin") == DATA
    assert [f[0] for f in s3.faults.happened] == [kind] * 3
    if kind != "lost":
        assert s3.slept == [0.2, 1.0, 4.0]


@pytest.mark.parametrize("kind", ["500", "503", "cut", "lost"])
def test_a_listing_that_fails_is_tried_again(s3, bucket, kind):
    (bucket / "d" / "a.bin").write_bytes(b"1")
    s3.faults.plan(kind, "GET", "prefix=d", times=2)
    assert [p.name for p in (bucket / "d").iterdir()] == ["a.bin"]
    assert len(s3.faults.happened) == 2


def test_an_answer_that_is_lost_after_a_conditional_put_is_no_matter(s3, bucket):
    s3.faults.plan("lost", "PUT", "marker")
    assert object_store.create((bucket / "marker").address, b"mine")
    assert [f[0] for f in s3.faults.happened] == ["lost"]
    assert held(s3, bucket, "marker") == b"mine"
    s3.faults.plan("lost", "PUT", "other")
    assert object_store.create((bucket / "other").address, b"mine")
    assert not object_store.create((bucket / "other").address, b"theirs")


def test_what_does_not_pass_is_one_sentence_after_all_tries(s3, bucket):
    (bucket / "a.bin").write_bytes(DATA)
    s3.faults.plan("503", "GET", "a.bin", times=99)
    with pytest.raises(StorageError, match=r"s3://.*a\.bin: the store could not be reached"):
        (bucket / "a.bin").read_bytes()
    assert len(s3.faults.happened) == 4


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_credentials_that_expire_are_told_from_objects_that_cannot_be_read(s3, bucket, method):
    place = bucket / "a.bin"
    place.write_bytes(DATA)
    s3.faults.plan("expired", method, "a.bin", times=99)
    ask = {"GET": place.read_bytes, "HEAD": place.info, "PUT": lambda: place.write_bytes(b"")}
    with pytest.raises(CredentialsError, match=r"a\.bin: the .* expired; set AWS_PROFILE"):
        ask[method]()
    assert not s3.slept, "it is of no use to try again"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_a_clock_that_jumped_is_no_missing_permission(s3, bucket, method):
    """Where size and version alone are asked for, S3 says no more than 403."""
    place = bucket / "a.bin"
    place.write_bytes(DATA)
    s3.faults.plan("skewed", method, "a.bin", times=99)
    if method == "HEAD":
        s3.faults.plan("skewed", "GET", "a.bin", times=99)
    ask = {"GET": place.read_bytes, "HEAD": place.info, "PUT": lambda: place.write_bytes(b"")}
    with pytest.raises(CredentialsError, match=r"a\.bin: .*the clock of this machine is too far"):
        ask[method]()
    s3.faults.planned.clear()
    assert place.read_bytes() == DATA


def test_permission_to_list_alone_is_told_from_none(s3, bucket):
    place = bucket / "a.bin"
    place.write_bytes(DATA)
    s3.faults.plan("403", "HEAD", "a.bin", times=99)
    with pytest.raises(UnreadableFileError, match="no permission to read"):
        place.info()
    s3.faults.plan("expired", "GET", "a.bin", times=99)
    with pytest.raises(CredentialsError, match="expired"):
        place.info()


def test_a_large_object_is_put_in_one_piece(s3, bucket):
    """Pieces that a killed client has uploaded lie in a bucket unseen, and are paid for."""
    before = s3.proxy.num_requests
    (bucket / "large.bin").write_bytes(bytes(101 << 20))
    assert s3.proxy.num_requests - before == 1
    assert (bucket / "large.bin").info().size == 101 << 20


def test_a_file_is_read_by_ranges(s3, bucket):
    (bucket / "a.bin").write_bytes(DATA)
    before = s3.proxy.num_requests
    with (bucket / "a.bin").open() as file:
        file.seek(500_000)
        assert file.read(10) == DATA[500_000:500_010]
        file.seek(-7, io.SEEK_END)
        assert file.read() == DATA[-7:]
        file.seek(0)
        s3.faults.plan("cut", "GET", "a.bin")
        assert file.read() == DATA
    assert s3.proxy.num_requests - before < 9


def test_other_libraries_read_through_it(s3, bucket, tmp_path):
    table = pa.table({"a": list(range(100_000)), "b": [str(n) for n in range(100_000)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=1000)
    (bucket / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes())
    with (bucket / "t.parquet").open() as file:
        assert pq.read_table(file, columns=["b"]) == table.select(["b"])
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        for number in range(5):
            info = tarfile.TarInfo(f"{number}.bin")
            info.size = 300_000
            archive.addfile(info, io.BytesIO(bytes([number]) * 300_000))
    (bucket / "t.tar").write_bytes((tmp_path / "t.tar").read_bytes())
    with (bucket / "t.tar").open() as file, tarfile.open(fileobj=file) as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive}
    assert members == {f"{n}.bin": bytes([n]) * 300_000 for n in range(5)}


def test_a_bucket_that_is_not_there(s3):
    place = RemotePath("s3://no-such-bucket-here/tokens")
    for ask in (
        lambda: list(place.iterdir()),
        lambda: (place / "a").write_bytes(b"1"),
        lambda: (place / "a").read_bytes(),
    ):
        with pytest.raises(StorageError, match="no-such-bucket-here: there is no such bucket"):
            ask()


def test_no_permission(s3, bucket):
    (bucket / "a.bin").write_bytes(b"1")
    s3.faults.plan("403", "GET", "a.bin", times=9)
    s3.faults.plan("403", "PUT", "a.bin", times=9)
    with pytest.raises(UnreadableFileError, match="no permission to read"):
        (bucket / "a.bin").read_bytes()
    with pytest.raises(StorageError, match="no permission to write"):
        (bucket / "a.bin").write_bytes(b"2")
    assert s3.slept == []


def test_no_credentials(s3, bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(StorageError, match="no credentials for s3:// were found; set AWS_PROFILE"):
        (bucket / "a.bin").read_bytes()


def test_credentials_of_a_profile(s3, bucket, monkeypatch, tmp_path):
    (bucket / "a.bin").write_bytes(b"1")
    key, secret = s3.environment["AWS_ACCESS_KEY_ID"], s3.environment["AWS_SECRET_ACCESS_KEY"]
    text = f"[team]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    (tmp_path / "credentials").write_text(text)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert (bucket / "a.bin").read_bytes() == b"1"
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(StorageError, match="no credentials"):
        (bucket / "a.bin").read_bytes()


def test_a_password_in_the_address_of_the_server_is_not_told(s3, bucket, monkeypatch):
    for address in ("http://user:pass@word@127.0.0.1:9", "http://user:word@127.0.0.1:9"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        with pytest.raises(StorageError, match="could not be reached") as caught:
            (bucket / "a.bin").read_bytes()
        assert "word" not in str(caught.value) and "user" not in str(caught.value)


def test_a_server_that_is_not_there(s3, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(StorageError, match="could not be reached"):
        (bucket / "a.bin").read_bytes()
    assert len(s3.slept) == 3
