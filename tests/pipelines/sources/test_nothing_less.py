"""Whatever looks like media is used or refused by name: no line becomes its caption alone."""

import base64
import io
import json
import os
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from dvse.errors import InputError
from pipelines.sources.listing import Lister
from pipelines.sources.loading import load
from pipelines.sources.registry import SourceOptions, make_source


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "png")
    return buffer.getvalue()


A, B = png("red"), png("blue")
RATE = 8000
SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2)).astype(np.float32)
NAMES = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(A)
    (tmp_path / "b.png").write_bytes(B)
    (tmp_path / "bare").write_bytes(A)
    soundfile.write(tmp_path / "a.wav", SOUND, RATE, subtype="FLOAT")
    return tmp_path


def records(typed, template=None):
    options = SourceOptions(template=template)
    lister = Lister(options)
    found = [
        record
        for entry in lister.entries([str(typed)])
        for record in make_source(entry.kind, options).records(entry)
    ]
    return found, lister.left_out.unused_fields


def held(record):
    """The bytes of a record's items, or why there are none."""
    return record.failure.reason if record.failure else [r.place.read() for r in record.refs]


# Tables

FIRST_ROWS_SAY_NOTHING = {
    "structs of nulls": pa.array(
        [{"bytes": None, "path": None}, {"bytes": B, "path": None}], NAMES
    ),
    "lists of nulls": pa.array([[None], [B]]),
    "other bytes": pa.array([b"?", B]),
    "other names": pa.array(["N/A", "b.png"]),
    "base64 without its padding": pa.array(["", base64.urlsafe_b64encode(B).decode().rstrip("=")]),
    "maps": pa.array([[], [("k", B)]], pa.map_(pa.string(), pa.binary())),
}


@pytest.mark.parametrize("layout", FIRST_ROWS_SAY_NOTHING)
@pytest.mark.parametrize("kind", ["parquet", "arrow", "hf:", "hf: stream"])
def test_a_column_is_known_by_any_of_its_first_rows(folder, monkeypatch, layout, kind):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    table = pa.table({"cover": FIRST_ROWS_SAY_NOTHING[layout], "text": ["a", "b"]})
    if kind == "arrow":
        with pa.ipc.new_file(folder / "t.arrow", table.schema) as file:
            file.write_table(table)
        typed = folder / "t.arrow"
    else:
        pq.write_table(table, folder / "t.parquet")
        stream = "true" if "stream" in kind else "false"
        address = f"hf:parquet?data_files=t.parquet&streaming={stream}"
        typed = folder / "t.parquet" if kind == "parquet" else address
    if layout == "maps" and kind.startswith("hf:"):
        pytest.skip("datasets has no maps")
    (first, second), _ = records(typed)
    assert held(second) == [B]
    assert first.failure or [ref.kind for ref in first.refs] == ["image"]


REFUSED = {
    "bytes as numbers": (pa.array([list(A)], pa.list_(pa.uint8())), "numbers"),
    "pixels": (pa.array([[[1, 2], [3, 4]]], pa.list_(pa.list_(pa.uint8()))), "numbers"),
    "tensors": (pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((1, 2, 2, 3), np.uint8)),
                "numbers"),
    "videos": (pa.array(["a.avi"]), r"media that are not read (a.avi)"),
    "drawings": (pa.array(["a.svg"]), "media that are not read"),
}  # fmt: skip


@pytest.mark.parametrize("layout", REFUSED)
def test_a_column_of_media_that_is_not_read_refuses_the_table(folder, layout):
    values, reason = REFUSED[layout]
    pq.write_table(pa.table({"x": values, "text": ["a"]}), folder / "t.parquet")
    (record,), _ = records(folder / "t.parquet")
    assert "column 'x' holds " in record.failure.reason and reason in record.failure.reason
    (record,), _ = records(folder / "t.parquet", template="{text}")
    assert held(record) == [b"a"]


def test_a_video_of_hugging_face_and_strings_in_a_column_of_pictures_refuse_the_table(folder):
    video = {"info": {"features": {"v": {"_type": "Video"}}}}
    table = pa.table({"v": pa.array([{"bytes": None, "path": "a.mp4"}], NAMES), "text": ["a"]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(video)})
    pq.write_table(table, folder / "v.parquet")
    (record,), _ = records(folder / "v.parquet")
    assert "column 'v' holds media of the kind video" in record.failure.reason
    for values in (["p1"], ["https://host/p?1"]):
        column = "image" if values == ["p1"] else "image_url"
        pq.write_table(pa.table({column: values, "text": ["a"]}), folder / "s.parquet")
        (record,), _ = records(folder / "s.parquet")
        assert f"column {column!r} holds" in record.failure.reason


@pytest.mark.parametrize("column", ["image", "file_name", "path"])
def test_names_without_an_ending_are_looked_into(folder, column):
    pq.write_table(pa.table({column: ["bare"], "text": ["a"]}), folder / "t.parquet")
    (record,), _ = records(folder / "t.parquet")
    assert held(record) == [A] and record.refs[0].kind == "image"


def test_two_columns_of_names_are_two_pictures_and_addresses_say_where_from(folder):
    columns = {"before": ["a.png"], "after": ["b.png"], "copy": ["old/a.png"], "gone": ["c.png"]}
    urls = {"image_url": ["https://host/other.png"], "text": ["t"]}
    pq.write_table(pa.table({**columns, **urls}), folder / "t.parquet")
    (record,), unused = records(folder / "t.parquet")
    assert held(record) == [A, B]
    assert unused == ("copy", "gone", "image_url")


def test_named_recordings_of_a_table_have_stretches_as_in_any_manifest(folder):
    table = {"audio_filepath": ["a.wav"] * 2, "offset": [0.0, 0.5], "duration": [0.25, 0.5]}
    pq.write_table(pa.table({**table, "channel": [0, 1]}), folder / "t.parquet")
    found, _ = records(folder / "t.parquet")
    first, second = (load(record)[1][0].source for record in found)
    assert np.array_equal(first, SOUND[: RATE // 4, :1])
    assert np.array_equal(second, SOUND[RATE // 2 :, 1:])
    pq.write_table(pa.table({"path": ["a.wav"], "speed": [1.1]}), folder / "t.parquet")
    (record,), _ = records(folder / "t.parquet")
    assert "the field 'speed' changes the recording" in record.failure.reason


def test_beside_embedded_recordings_times_say_where_they_came_from(folder):
    sound = (folder / "a.wav").read_bytes()
    table = pa.table({"audio": [sound], "begin_time": [12.5], "end_time": [13.5]})
    pq.write_table(table, folder / "t.parquet")
    (record,), unused = records(folder / "t.parquet")
    assert held(record) == [sound] and record.refs[0].start_s is None
    assert unused == ("begin_time", "end_time")


# Lines


def line(folder, found, name="m.jsonl"):
    (folder / name).write_text(json.dumps(found) + "\n")
    (record,), unused = records(folder / name)
    return record, unused


TEXT_OF_A = base64.b64encode(A).decode()
USED = {
    "two kinds": ({"image": "a.png", "audio": "a.wav"}, [A, "wav"]),
    "two of a kind": ({"image": "a.png", "edited": "b.png"}, [A, B]),
    "a struct": ({"image": {"path": "a.png", "bytes": None}}, [A]),
    "a list": ({"images": ["a.png", "b.png"]}, [A, B]),
    "an unknown name": ({"cover": "a.png"}, [A]),
    "base64": ({"image": TEXT_OF_A}, [A]),
    "a data address": ({"image": f"data:image/png;base64,{TEXT_OF_A}"}, [A]),
    "the same again": ({"image": "a.png", "original": "/gone/a.png"}, [A]),
    "an address beside": ({"image": "a.png", "photo_url": "https://host/x.png"}, [A]),
    "a page": ({"image": "a.png", "source": "https://host/page.png"}, [A]),
}


@pytest.mark.parametrize("case", USED)
def test_media_of_a_line_are_found_under_any_name(folder, case):
    found, wanted = USED[case]
    record, _ = line(folder, {**found, "text": "t"})
    sound = (folder / "a.wav").read_bytes()
    assert held(record) == [sound if one == "wav" else one for one in wanted]
    assert record.text == "t"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"video": "a.avi"}, "a.avi"),
        ({"id": 1, "recording_id": "r", "start": 0, "duration": 1}, "make cuts of both manifests"),
        ({"media": {"picture": "a.png"}}, "the field 'media' names a.png inside an object"),
        ({"audio": {"array": [0.5], "sampling_rate": 8000}}, "the field 'audio' holds no name"),
        ({"messages": [{"role": "user", "content": "x"}], "videos": ["a.mp4"]}, "'videos' names"),
        ({"messages": [{"role": "user", "content": "x"}], "image_file": "a.png"}, "'image_file'"),
    ],
)
def test_media_of_a_line_that_are_not_read_refuse_it(folder, found, reason):
    record, _ = line(folder, {**found, "text": "t"})
    assert reason in record.failure.reason


def test_a_text_that_only_speaks_of_files_is_a_text(folder):
    found = {"text": "see a.png", "url": "https://host/x.png", "note": "as in b.png", "n": 3}
    record, unused = line(folder, found)
    assert held(record) == [b"see a.png"]
    assert unused == ("n", "note", "url")


@pytest.mark.parametrize(
    "extra",
    [
        {"startTime": 0.5, "endTime": 1.0},
        {"Start (s)": 0.5, "End (s)": 1.0},
        {"start-time": "0.5"},
        {"start time": 0.5},
    ],
)
def test_times_are_obeyed_however_they_are_spelt(folder, extra):
    record, unused = line(folder, {"path": "a.wav", **extra})
    assert np.array_equal(load(record)[1][0].source, SOUND[RATE // 2 :])
    assert unused == ()


@pytest.mark.parametrize(
    "extra",
    [
        {"startSec": 0.5}, {"audioStart": 0.5}, {"time_start": 0.5}, {"start_offset": 0.5},
        {"start_ms": 1}, {"frame_offset": 1}, {"t0": 0.5}, {"from": 0.5, "to": 0.7},
        {"segment": [0.1, 0.4]}, {"timestamps": [[0.1, 0.4]]}, {"start": 0.2, "duration_ms": 300},
        {"offset": 0, "num_samples": 1600}, {"start": 0.2, "length": 0.3}, {"rotate": 90},
        {"flip": True}, {"channel_id": 0}, {"ch": 1}, {"gain_db": 1}, {"speed_perturb": 0.9},
    ],
)  # fmt: skip
def test_times_and_changes_that_are_not_done_refuse_the_line(folder, extra):
    record, _ = line(folder, {"path": "a.wav", **extra})
    assert "changes the recording" in record.failure.reason
    assert record.failure.reason.split("'")[1] in extra


@pytest.mark.parametrize(
    "extra",
    [
        {"weekend": 2}, {"num_samples": 8000}, {"length": 1.0}, {"speed": 1.0}, {"reverse": False},
        {"start_ms": 0}, {"segment": "s1"}, {"from": "me", "to": "you"}, {"channel_id": "UC7"},
        {"sample_rate": 8000}, {"start_char": 7}, {"pitch_mean": 120},
    ],
)  # fmt: skip
def test_fields_that_describe_a_recording_change_nothing(folder, extra):
    record, _ = line(folder, {"path": "a.wav", **extra})
    assert held(record) == [(folder / "a.wav").read_bytes()]


def test_rows_of_a_csv_that_do_not_fit_are_errors(folder):
    (folder / "m.csv").write_bytes(b"path,text\na.wav,hello, world\na.wav,hell\xf6\na.wav,fine\n")
    (more, bytes_, fine), _ = records(folder / "m.csv")
    assert "the row has 3 fields, the header 2" in more.failure.reason
    assert "the field 'text' is no UTF-8" in bytes_.failure.reason
    assert fine.text == "fine"
    (folder / "m.csv").write_text("path,text,Text\na.wav,x,y\n")
    (record,), _ = records(folder / "m.csv")
    assert "expected each column once, received ['text']" in record.failure.reason


def test_kaldi_channels_repeated_names_and_transcripts_that_are_no_utf_8(folder):
    (folder / "wav.scp").write_text("r a.wav\nr b.wav\nv a.wav\n")
    (folder / "segments").write_text("x r 0 0.5 1\ny r 0 0.5 0\nz r 0 0.5 1 A\n")
    (folder / "text").write_bytes(b"x one\nv \xff\n")
    (x, y, z, v, again), _ = records(folder / "wav.scp")
    assert np.array_equal(load(x)[1][0].source, SOUND[: RATE // 2, 1:])
    assert np.array_equal(load(y)[1][0].source, SOUND[: RATE // 2, :1])
    assert "expected 4 or 5 fields, received 6" in z.failure.reason
    assert "UTF-8" in v.failure.reason
    assert "the name r stands in more than one line" in again.failure.reason


# Tars


def tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                archive.addfile(info)


HARD, SOFT = tarfile.LNKTYPE, tarfile.SYMTYPE


def test_links_of_a_tar_are_followed(folder):
    tar(folder / "t.tar", [
        ("d/a.png", A), ("d/b.png", (HARD, "d/a.png")), ("d/c.png", (SOFT, "a.png")),
        ("e.png", (SOFT, "d/c.png")), ("f.png", (HARD, "gone.png")), ("g.png", (SOFT, "g.png")),
        ("h.png", (tarfile.FIFOTYPE, "")),
    ])  # fmt: skip
    (a, b, c, e, *others), _ = records(folder / "t.tar")
    assert [held(r) for r in (a, b, c, e)] == [[A]] * 4
    reasons = ["f.png is a link to gone.png, which is not in", "g.png is no reg", "h.png is no reg"]
    for record, reason in zip(others, reasons, strict=True):
        with pytest.raises(InputError, match=reason):
            held(record)
    tar(folder / "t.tgz", [("a.png", A), ("b.png", (HARD, "a.png"))], "w:gz")
    (a, b), _ = records(folder / "t.tgz")
    assert held(a) == [A]
    with pytest.raises(InputError, match=r"b\.png is a link .* pack it with --hard-dereference"):
        held(b)


def test_a_tar_holds_no_text_beside_media_that_are_not_read(folder):
    tar(folder / "t.tar", [("x.svg", b"<svg/>"), ("x.txt", b"t"), ("y.avi", b"?"), ("y.txt", b"t"),
                           ("z.npy", b"?"), ("z.txt", b"t")])  # fmt: skip
    (x, y, z), _ = records(folder / "t.tar")
    assert "SVG" in x.failure.reason and "'.avi'" in y.failure.reason
    assert held(z) == [b"t"]


def test_what_stands_behind_the_end_of_a_tar_is_looked_at(folder):
    tar(folder / "a.tar", [("a.png", A)])
    tar(folder / "b.tar", [("b.png", B)])
    first, second = ((folder / name).read_bytes() for name in ("a.tar", "b.tar"))
    (folder / "odd.tar").write_bytes(first[:-100] + second)
    (a, rest), _ = records(folder / "odd.tar")
    assert held(a) == [A]
    assert "what stands behind its end" in rest.failure.reason


def test_a_sparse_member_is_longer_than_what_is_stored(folder):
    size = 1 << 20
    with (folder / "s.wav").open("wb") as file:
        file.write((folder / "a.wav").read_bytes())
        os.ftruncate(file.fileno(), size)
    command = f"tar -S -cf {folder}/s.tar -C {folder} s.wav a.png"
    if os.system(command):
        pytest.skip("this tar stores no sparse files")
    (sound, picture), _ = records(folder / "s.tar")
    assert held(sound) == [(folder / "s.wav").read_bytes()]
    assert held(picture) == [A]
