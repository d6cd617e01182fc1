"""imagefolder, audiofolder and Kaldi directories as `datasets` and Kaldi write them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources.listing import Lister
from pipelines.sources.registry import SourceOptions, make_source


def records(path):
    options = SourceOptions()
    return [
        record
        for entry in Lister(options).entries([str(path)])
        for record in make_source(entry.kind, options).records(entry)
    ]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_captions_of_a_metadata_file_travel_along(tmp_path, ending):
    (tmp_path / "train" / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png", "alone.png"):
        (tmp_path / "train" / name).write_bytes(name.encode() + bytes(100))
    rows = [{"file_name": "a.png", "text": "a cat"}, {"file_name": "deep/b.png", "text": "a dog"}]
    path = tmp_path / "train" / f"metadata.{ending}"
    if ending == "csv":
        path.write_text("file_name,text\na.png,a cat\ndeep/b.png,a dog\n")
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = records(tmp_path)
    assert [r.failure for r in found] == [None] * 3
    assert [(r.refs[0].place.read().partition(b"\0")[0], r.text) for r in found] == [
        (b"a.png", "a cat"),
        (b"deep/b.png", "a dog"),
        (b"alone.png", None),
    ]


def test_a_kaldi_directory_is_its_wav_scp(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"A")
    (tmp_path / "wav.scp").write_text("u1 a.wav\n")
    (tmp_path / "text").write_text("u1 HELLO\n")
    (tmp_path / "utt2spk").write_text("u1 s\n")
    (record,) = records(tmp_path)
    assert (record.id, record.text) == ("u1", "HELLO")
