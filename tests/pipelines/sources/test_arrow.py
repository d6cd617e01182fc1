"""Pictures in tables, in every layout that pyarrow, polars, duckdb and datasets write."""

import base64
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.sources.listing import Lister
from pipelines.sources.registry import SourceOptions, make_source


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "png")
    return buffer.getvalue()


A, B = png("red"), png("blue")
STRUCT = {"bytes": A, "path": None}


def records(path, template=None):
    options = SourceOptions(template=template)
    return [
        record
        for entry in Lister(options).entries([str(path)])
        for record in make_source(entry.kind, options).records(entry)
    ]


def pictures(record):
    assert record.failure is None, record.failure
    return [ref.place.read() for ref in record.refs if ref.kind == "image"]


struct_type = pa.struct({"bytes": pa.binary(), "path": pa.string()})
LAYOUTS = {
    "binary": pa.array([A]),
    "large_binary": pa.array([A], pa.large_binary()),
    "binary_view": pa.array([A], pa.binary_view()),
    "fixed_size_binary": pa.array([A], pa.binary(len(A))),
    "dictionary": pa.array([A]).dictionary_encode(),
    "list": pa.array([[A]]),
    "large_list": pa.array([[A]], pa.large_list(pa.large_binary())),
    "fixed_size_list": pa.array([[A]], pa.list_(pa.binary(), 1)),
    "list_of_structs": pa.array([[STRUCT]], pa.large_list(struct_type)),
    "struct": pa.array([STRUCT], struct_type),
    "struct_of_bytes": pa.array([{"bytes": A}]),
    "struct_of_view": pa.array([{"bytes": A}], pa.struct({"bytes": pa.binary_view()})),
    "nested": pa.array([{"a": {"b": STRUCT}}]),
    "nested_list": pa.array([[{"picture": A}]]),
    "base64": pa.array([base64.b64encode(A).decode()]),
    "data_address": pa.array([f"data:image/png;base64,{base64.b64encode(A).decode()}"]),
}


@pytest.mark.parametrize("column", ["image", "x"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_bytes(tmp_path, layout, column):
    table = pa.table({column: LAYOUTS[layout], "text": ["a cat"]})
    pq.write_table(table, tmp_path / "t.parquet")
    with pa.ipc.new_stream(tmp_path / "s.arrow", table.schema) as stream:
        stream.write_table(table)
    with pa.ipc.new_file(tmp_path / "f.feather", table.schema) as file:
        file.write_table(table)
    for name in ("t.parquet", "s.arrow", "f.feather"):
        (record,) = records(tmp_path / name)
        assert pictures(record) == [A], name
        assert record.text == "a cat"


@pytest.mark.parametrize("column", ["image", "file_name", "path", "x"])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_names_of_files(tmp_path, column, kind):
    (tmp_path / "x.png").write_bytes(A)
    table = pa.table({column: pa.array(["x.png"], kind), "caption": ["a cat"]})
    pq.write_table(table, tmp_path / "t.parquet")
    (record,) = records(tmp_path / "t.parquet")
    assert (pictures(record), record.text) == ([A], "a cat")


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("blob", [b"?" * 100], "column 'blob' holds bytes"),
        ("url", ["http://x/y.jpg"], "column 'url' holds addresses"),
        ("image", [[[1, 2], [3, 4]]], "column 'image' holds numbers"),
        ("audio", [{"array": [0.1, 0.2], "sampling_rate": 8000}], "column 'audio.array' holds"),
    ],
)
def test_media_that_cannot_be_used_refuses_the_file(tmp_path, column, values, reason):
    pq.write_table(pa.table({column: values, "text": ["a"]}), tmp_path / "t.parquet")
    (record,) = records(tmp_path / "t.parquet")
    assert reason in record.failure.reason
    (record,) = records(tmp_path / "t.parquet", template="{text}")
    assert record.failure is None


def test_numbers_hashes_and_names_of_embedded_files_are_no_media(tmp_path):
    columns = {"image": [A], "file_name": ["gone.png"], "embedding": [[0.5, 0.1]], "n": [1]}
    hashes = pa.array([bytes(32)], pa.binary(32))
    pq.write_table(pa.table({**columns, "sha256": hashes}), tmp_path / "t.parquet")
    (record,) = records(tmp_path / "t.parquet")
    assert pictures(record) == [A]


def test_a_column_whose_first_rows_are_null(tmp_path):
    values = pa.array([None] * 100 + [A])
    pq.write_table(pa.table({"x": values, "text": ["t"] * 101}), tmp_path / "t.parquet")
    found = records(tmp_path / "t.parquet")
    assert pictures(found[100]) == [A]
    assert all(r.failure for r in found[:100])


def test_what_polars_and_duckdb_write(tmp_path):
    polars = pytest.importorskip("polars")
    duckdb = pytest.importorskip("duckdb")
    columns = {"image": [A, B], "pair": [[A, B], [B]], "text": ["a", "b"]}
    frame = polars.DataFrame({**columns, "s": [STRUCT, STRUCT]})
    frame.write_parquet(tmp_path / "polars.parquet")
    frame.write_ipc(tmp_path / "polars.arrow")
    table = pa.table({**columns, "s": [STRUCT, STRUCT]})
    duckdb.from_arrow(table).write_parquet(str(tmp_path / "duckdb.parquet"))
    for name in ("polars.parquet", "polars.arrow", "duckdb.parquet"):
        first, second = records(tmp_path / name)
        assert pictures(first) == [A, A, B, A], name
        assert pictures(second) == [B, B, A], name


def test_saved_data_sets(tmp_path):
    import datasets

    data = datasets.Dataset.from_dict({"image": [A, B], "label": [1, 0]})
    data = data.cast_column("image", datasets.Image())
    data = data.cast_column("label", datasets.ClassLabel(names=["cat", "dog"]))
    datasets.DatasetDict(train=data, test=data).save_to_disk(
        tmp_path / "saved", num_shards={"train": 2, "test": 1}
    )
    (tmp_path / "saved" / "train" / "cache-1.arrow").write_bytes(b"left over by map")
    found = records(tmp_path / "saved")
    assert [pictures(r) for r in found] == [[A], [B], [A], [B]]
    assert [r.text for r in found] == ["dog", "cat"] * 2
    assert [pictures(r) for r in records(tmp_path / "saved" / "test")] == [[A], [B]]
