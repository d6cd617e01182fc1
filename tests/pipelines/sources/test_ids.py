"""Ids without media are the ids of the records, in every kind of source."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from pipelines.job.plan import Plan, write_listing
from pipelines.sources.registry import SourceOptions, make_source

IDS = ["a", "b/c", "a", None, "日本", "a#2"]


def tar(path, mode):
    with tarfile.open(path, mode) as archive:
        for key in ("x", "x", "d/y", "._hidden", "z"):
            for ending in ("txt", "cls"):
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = 2
                archive.addfile(info, io.BytesIO(b"hi"))


def cut(path):
    """A tar that breaks off inside its third sample."""
    tar(path, "w")
    path.write_bytes(path.read_bytes()[: 512 * 9 + 100])


def table(*, with_ids):
    texts = pa.array([f"text {n}" for n in range(len(IDS))])
    return pa.table({"id": pa.array(IDS), "text": texts} if with_ids else {"text": texts})


def lines(path):
    path.write_text("".join(json.dumps({"id": i, "text": "t"}) + "\n\n" for i in IDS) + "{\n")


WRITERS = {
    "plain.tar": lambda path: tar(path, "w"),
    "packed.tgz": lambda path: tar(path, "w:gz"),
    "cut.tar": cut,
    "ids.parquet": lambda path: pq.write_table(table(with_ids=True), path, row_group_size=4),
    "none.parquet": lambda path: pq.write_table(table(with_ids=False), path, row_group_size=4),
    "ids.arrow": lambda path: pa.feather.write_feather(table(with_ids=True), path, chunksize=4),
    "none.arrow": lambda path: pa.feather.write_feather(table(with_ids=False), path, chunksize=4),
    "lines.jsonl": lines,
    "list.csv": lambda path: path.write_text("path,id\na.png,\nb.wav,b\n,c\na.png,\n"),
    "wav.scp": lambda path: path.write_text("u1 a.wav\nu2 b.wav |\n"),
    "single.png": lambda path: path.write_bytes(b"?"),
    "odd.xyz": lambda path: path.write_bytes(b"?"),
}


def test_missing_partitions_of_a_compressed_tar_are_read_in_one_pass(tmp_path, monkeypatch):
    path = tmp_path / "many.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for number in range(30):
            info = tarfile.TarInfo(f"{number:02d}.txt")
            info.size = 2
            archive.addfile(info, io.BytesIO(b"%02d" % number))
    listing = tmp_path / "listing.jsonl"
    write_listing(listing, [str(path)], SourceOptions())
    opened, real = [], tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda **kw: opened.append(1) or real(**kw))
    ranges = [(0, 2), (4, 7), (7, 9), (20, 21), (28, None)]
    found = list(Plan(listing, SourceOptions()).records(ranges))
    assert [number for number, _ in found] == [0, 1, 4, 5, 6, 7, 8, 20, 28, 29]
    assert [record.id for _, record in found] == [f"{number:02d}" for number, _ in found]
    assert len(opened) == 1


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("is_hub", [False, True])
def test_ids_are_those_of_the_records(tmp_path, name, is_hub):
    path = tmp_path / name
    WRITERS[name](path)
    typed = str(path)
    if is_hub:
        if path.suffix != ".parquet":
            pytest.skip("one kind is enough")
        typed = f"hf:parquet?data_files={path}"
    listing = tmp_path / "listing.jsonl"
    write_listing(listing, [typed, typed], SourceOptions())
    plan = Plan(listing, SourceOptions())
    found = [(number, record.id) for number, record in plan.records()]
    assert list(plan.ids()) == found
    assert len(found) % 2 == 0


def test_ids_of_what_has_shrunk_since_are_those_of_its_records(tmp_path):
    path, listing = tmp_path / "x.jsonl", tmp_path / "listing.jsonl"
    lines(path)
    write_listing(listing, [str(path)], SourceOptions())
    path.write_text('{"id": "only", "text": "t"}\n')
    plan = Plan(listing, SourceOptions())
    found = [(number, record.id) for number, record in plan.records()]
    assert [id for _, id in found] == ["only", *(f"{path}#{n}" for n in range(1, 7))]
    assert list(plan.ids()) == found


def test_a_source_reads_media_for_its_ids_only_where_it_must():
    options = SourceOptions()
    frugal = ("image", "audio", "text", "tar", "parquet", "arrow", "hub")
    for kind in frugal:
        assert "ids" in vars(type(make_source(kind, options))), kind
