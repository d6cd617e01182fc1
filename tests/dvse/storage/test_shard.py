"""The token shard: what goes in comes out, the same bytes each time, whole or not at all."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dvse.encoding import Encoding, Span
from dvse.errors import IdRangeError, ShardError
from dvse.storage.atomic_file import write_atomically
from dvse.storage.file_hash import file_sha256
from dvse.storage.shard import (
    ShardMetadata,
    encoding_row,
    read_metadata,
    read_shard,
    shard_schema,
    write_shard,
)

METADATA = ShardMetadata(
    bundle="tiny",
    bundle_fingerprint="f" * 64,
    vocabulary_fingerprint="e" * 64,
    vocabulary_size=4096,
    profile={"device": "cpu", "threads": 2},
)


def encoding(ids, *, modality="text", **span):
    ids = np.asarray(ids, dtype=np.int64)
    return Encoding(
        ids=ids,
        modality_ids=np.zeros(len(ids), np.int8),
        spans=(Span(modality=modality, start=0, stop=len(ids), **span),),
    )


def make_rows(dtype="uint16"):
    return [
        encoding_row(
            encoding([1, 2, 3], modality="image", grid=(1, 3)),
            id="a",
            source="/x/a.png",
            sha256="0" * 64,
            text="a cat 猫",
            id_dtype=dtype,
        ),
        encoding_row(
            encoding(
                [5, 6],
                modality="audio",
                duration_s=0.5,
                frame_rate_hz=50.0,
                durations=np.array([20, 5], np.int32),
            ),
            id="b",
            id_dtype=dtype,
        ),
        encoding_row(encoding([]), id="c", id_dtype=dtype),
        encoding_row(encoding([7, 8]), id="d", loss_mask=np.array([False, True]), id_dtype=dtype),
    ]


def write(path, rows=None, dtype="uint16"):
    return write_shard(
        path,
        make_rows(dtype) if rows is None else rows,
        schema=shard_schema(dtype),
        metadata=METADATA.to_schema_metadata(),
    )


def test_what_goes_in_comes_out(tmp_path):
    write(tmp_path / "s.parquet")
    a, b, c, d = read_shard(tmp_path / "s.parquet").to_pylist()
    assert (a["id"], a["modality"], a["ids"]) == ("a", "image", [1, 2, 3])
    assert (a["grid_h"], a["grid_w"], a["text"]) == (1, 3, "a cat 猫")
    assert (a["source"], a["sha256"]) == ("/x/a.png", "0" * 64)
    assert a["durations"] is a["loss_mask"] is a["duration_s"] is None
    assert (b["duration_s"], b["frame_rate_hz"], b["durations"]) == (0.5, 50.0, [20, 5])
    assert c["ids"] == []
    assert d["loss_mask"] == [False, True]


def test_metadata_says_what_made_the_shard(tmp_path):
    write(tmp_path / "s.parquet")
    found = read_metadata(tmp_path / "s.parquet")
    assert found.lengths.tolist() == [3, 2, 0, 2]
    assert (found.bundle, found.bundle_fingerprint) == ("tiny", "f" * 64)
    assert (found.vocabulary_fingerprint, found.vocabulary_size) == ("e" * 64, 4096)
    assert found.profile == {"device": "cpu", "threads": 2}


def test_the_same_rows_give_the_same_bytes_in_any_process(tmp_path):
    first = write(tmp_path / "a.parquet")
    assert write(tmp_path / "b.parquet") == first == file_sha256(tmp_path / "a.parquet")
    code = (
        "import runpy, sys; from pathlib import Path\n"
        "tests = runpy.run_path(sys.argv[1]); print(tests['write'](Path(sys.argv[2])))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, __file__, tmp_path / "c.parquet"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert run.stdout.strip() == first


@pytest.mark.parametrize(("dtype", "too_large"), [("uint16", 65536), ("uint32", 2**32)])
def test_ids_never_wrap_around(dtype, too_large):
    encoding_row(encoding([too_large - 1]), id="a", id_dtype=dtype)
    for wrong in (too_large, -1):
        with pytest.raises(IdRangeError, match=f"which {dtype} holds"):
            encoding_row(encoding([wrong]), id="a", id_dtype=dtype)


def test_datasets_opens_shards_as_they_are(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write(tmp_path / "shard-000000.parquet")
    write(tmp_path / "shard-000001.parquet")
    files = str(tmp_path / "shard-*.parquet")
    loaded = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.num_rows == 8
    assert loaded[0]["ids"] == [1, 2, 3]
    streamed = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    assert [row["id"] for row in streamed] == ["a", "b", "c", "d"] * 2


def test_no_rows_are_a_shard_too(tmp_path):
    write(tmp_path / "s.parquet", [])
    assert read_shard(tmp_path / "s.parquet").num_rows == 0
    assert read_metadata(tmp_path / "s.parquet").lengths.tolist() == []


def test_some_columns(tmp_path):
    write(tmp_path / "s.parquet")
    found = read_shard(tmp_path / "s.parquet", ["text", "id"])
    assert found.column_names == ["text", "id"] and found["id"].to_pylist() == ["a", "b", "c", "d"]
    assert found.equals(pq.read_table(tmp_path / "s.parquet", columns=["text", "id"]))
    with pytest.raises(ShardError, match="it has no column 'reason'"):
        read_shard(tmp_path / "s.parquet", ["id", "reason"])


@pytest.mark.parametrize("damage", ["cut", "garbage", "gone", "foreign"])
def test_damaged_shards_are_one_clear_error(tmp_path, damage):
    path = tmp_path / "s.parquet"
    write(path)
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "garbage":
        path.write_bytes(b"x" * 500)
    elif damage == "gone":
        path.unlink()
    else:
        import pyarrow as pa

        pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(ShardError, match=r"s\.parquet: expected a token shard"):
        read_metadata(path)


def test_a_bit_that_flips_is_told_or_does_not_matter(tmp_path):
    path = tmp_path / "s.parquet"
    write(path)
    data, refused = path.read_bytes(), 0
    for number in range(0, 8 * len(data), 29):
        bad = bytearray(data)
        bad[number // 8] ^= 1 << number % 8
        path.write_bytes(bad)
        try:
            read_metadata(path)
        except ShardError as error:
            assert "s.parquet: expected a token shard" in str(error)
            refused += 1
    assert refused > 50


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_atomically(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_the_hash_of_a_file(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()
