"""Labels and captions of folders; `datasets` with imagefolder and audiofolder is the judge."""

import io
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from pipelines.sources.entry import Entry
from pipelines.sources.listing import Lister
from pipelines.sources.registry import SourceOptions, make_source

# `datasets` leaves the metadata files that it has read to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def no_torchcodec(monkeypatch):
    """Paths of recordings need none of it, `datasets` asks for it all the same."""
    encode = lambda self, value: {"bytes": None, "path": value}  # noqa: E731
    monkeypatch.setattr(datasets.Audio, "encode_example", encode)


def png(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), sum(name.encode()) % 256).save(file, "PNG")
    return file.getvalue()


def wav() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(80), 8000, format="WAV")
    return file.getvalue()


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav() if path.suffix == ".wav" else png(name))


def records(folder):
    options = SourceOptions()
    found = []
    for entry in Lister(options).entries([str(folder)]):
        assert Entry.from_json(entry.to_json()) == entry
        found += make_source(entry.kind, options).records(entry)
    return found


def ours(folder):
    """Files of each row → its text."""
    return {
        tuple(sorted(file for ref in record.refs for file in ref.place.files)): record.text
        for record in records(folder)
    }


def judged(kind, folder, cache, text):
    """The same from `datasets`."""
    found = {}
    feature = datasets.Image if kind == "imagefolder" else datasets.Audio
    for part in datasets.load_dataset(kind, data_dir=str(folder), cache_dir=str(cache)).values():
        media = [n for n, f in part.features.items() if isinstance(f, feature)]
        lists = [n for n, f in part.features.items() if isinstance(f, datasets.List)]
        for name in media:
            part = part.cast_column(name, feature(decode=False))
        for name in lists:
            part = part.cast_column(name, datasets.List(feature(decode=False)))
        for row in part:
            values = [*(row[n] for n in media), *(v for n in lists for v in row[n])]
            value = row.get(text)
            if text == "label" and value is not None:
                value = part.features["label"].int2str(value)
            found[tuple(sorted(str(Path(v["path"])) for v in values))] = value
    return found


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("imagefolder", ["cat/1.png", "cat/2.png", "dog/1.png"]),
        ("imagefolder", ["train/cat/1.png", "train/dog/2.png", "test/cat/3.png"]),
        ("imagefolder", ["cat/1.png", "cat/2.png"]),
        ("imagefolder", ["1.png", "2.png"]),
        ("imagefolder", ["cat/1.png", "dog/deep/2.png"]),
        ("imagefolder", ["cat/1.png", "dog/2.png", "3.png"]),
        ("audiofolder", ["yes/1.wav", "no/2.wav", "yes/3.wav"]),
    ],
)
def test_class_folders(tmp_path, kind, names):
    make(tmp_path / "data", *names)
    (tmp_path / "data" / ".DS_Store").write_bytes(b"?")
    assert ours(tmp_path / "data") == judged(kind, tmp_path / "data", tmp_path / "cache", "label")


def test_where_something_else_describes_the_files_there_are_no_labels(tmp_path):
    make(tmp_path, "cat/1.png", "dog/2.png")
    (tmp_path / "dog" / "2.txt").write_text("a dog that runs")
    found = {Path(files[0]).name: text for files, text in ours(tmp_path).items()}
    assert found == {"1.png": None, "2.png": "a dog that runs", "2.txt": None}
    parts = tmp_path / "parts"
    make(parts, "train/1.png", "test/2.png")
    assert set(ours(parts).values()) == {None}


def test_pictures_and_recordings_have_labels_of_their_own(tmp_path):
    make(tmp_path, "cat/1.png", "dog/1.png", "deep/er/1.wav", "deep/2.wav")
    found = {file.removeprefix(f"{tmp_path}/"): text for (file,), text in ours(tmp_path).items()}
    assert found == {
        "cat/1.png": "cat", "dog/1.png": "dog", "deep/er/1.wav": None, "deep/2.wav": None
    }  # fmt: skip


ROWS = [
    {"left_file_name": "a.png", "right_file_name": "b.png", "text": "two"},
    {"left_file_name": "c.png", "right_file_name": "deep/d.png", "text": "more"},
]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_several_columns_of_file_names_are_one_row(tmp_path, ending):
    folder = tmp_path / "data"
    make(folder, "a.png", "b.png", "c.png", "deep/d.png")
    write(folder / f"metadata.{ending}", ROWS)
    expected = judged("imagefolder", folder, tmp_path / "cache", "text")
    assert ours(folder) == expected
    assert len(expected) == 2
    assert [Path(r.place.files[0]).name for r in records(folder)[0].refs] == ["a.png", "b.png"]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_lists_of_file_names(tmp_path, ending):
    folder = tmp_path / "data"
    make(folder, "a.png", "b.png", "c.png")
    rows = [{"file_names": ["a.png", "b.png"], "text": "x"}, {"file_names": ["c.png"], "text": "y"}]
    write(folder / f"metadata.{ending}", rows)
    assert ours(folder) == judged("imagefolder", folder, tmp_path / "cache", "text")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_file_name_of_a_metadata_file_counts_before_other_paths(tmp_path, ending):
    folder = tmp_path / "data"
    make(folder, "a.wav", "b.wav")
    rows = [{"path": f"/gone/{n}", "file_name": n, "transcription": n} for n in ("a.wav", "b.wav")]
    write(folder / f"metadata.{ending}", rows)
    assert ours(folder) == judged("audiofolder", folder, tmp_path / "cache", "transcription")


def write(path, rows):
    if path.suffix == ".csv":
        lines = [rows[0].keys(), *(row.values() for row in rows)]
        path.write_text("\n".join(map(",".join, lines)))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
