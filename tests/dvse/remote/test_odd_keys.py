"""Keys of a store are any strings: each is an input, or is named; none is lost without a word."""

from fake_step import FakeStep

from dvse.remote.remote_path import location
from dvse.storage.shard import find_shards, read_shard
from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.sources.listing import Lister
from pipelines.sources.registry import SourceOptions, make_source

NAMES = [
    "a b.png", "50%.png", "a%20b.png", "a+b.png", "a#1.png", "q?x=1.png", "[x].png", "st*r.png",
    "日本.png", "quo'te\".png", "{b}.png", "back\\slash.png", "sub dir/x y.png", "~t.png",
    "sub%2Fdir/z.png", "emo😀.png", "tab\t.png", "a&b=c.png", "com,ma;.png", "a:b.png", "@.png",
    "dou/ok.png", "twin.png/inner.png",
]  # fmt: skip
WITHOUT_A_PATH = ["dou//ble.png", "twin.png", "/lead.png"]


def put(s3, bucket, key, data=b"picture"):
    s3.client.put_object(Bucket=bucket.address[5:], Key=key, Body=data)


def test_every_key_of_a_folder_is_an_input_or_is_named(s3, bucket):
    for name in (*NAMES, *WITHOUT_A_PATH):
        put(s3, bucket, f"in/{name}")
    for marker in ("in/", "in/empty/", "in/sub dir/"):
        put(s3, bucket, marker, b"")
    root = f"{bucket}/in"
    found = list(Lister(SourceOptions()).entries([root]))
    assert {e.path for e in found if e.failure is None} == {f"{root}/{name}" for name in NAMES}
    failed = {e.path.removeprefix(root): e.failure.reason for e in found if e.failure}
    assert failed.keys() == {"//", "/dou//", "/twin.png"}
    assert f"a folder without a name ({root}/dou//)" in failed["/dou//"]
    assert "an object and a folder have this name" in failed["/twin.png"]


def test_every_key_is_an_input_by_itself(s3, bucket):
    for name in (*NAMES, *WITHOUT_A_PATH):
        put(s3, bucket, f"in/{name}", name.encode())
        (entry,) = Lister(SourceOptions()).entries([f"{bucket}/in/{name}"])
        (record,) = make_source(entry.kind, SourceOptions()).records(entry)
        assert record.failure is None and record.refs[0].place.read() == name.encode()


def test_outputs_of_any_name_are_written_read_and_gone_on_with(s3, bucket, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"picture %d" % number)
    for name in ("a b%20", "ü+#1", "o?x=1", "[x]", "deep//er"):
        output = location(f"{bucket}/{name}")
        for num_new in (3, 0):
            config = JobConfig(inputs=[str(tmp_path)], output=output, shard_size=2)
            assert Job(config, FakeStep(), InlineEngine()).run().new_inputs == num_new
        rows = [row["id"] for path in find_shards(output) for row in read_shard(path).to_pylist()]
        assert rows == ["0.png", "1.png", "2.png"]
