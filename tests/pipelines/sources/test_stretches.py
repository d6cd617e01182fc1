"""Stretches and channels of manifests."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dvse.errors import InputError
from pipelines.sources.listing import Lister
from pipelines.sources.loading import load
from pipelines.sources.registry import SourceOptions, make_source

RATE = 8000
SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * RATE, 2)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", SOUND, RATE, subtype="FLOAT")
    return tmp_path


def records(path):
    options = SourceOptions()
    return [
        record
        for entry in Lister(options).entries([str(path)])
        for record in make_source(entry.kind, options).records(entry)
    ]


def samples(record):
    assert record.failure is None, record.failure
    return load(record)[1][0].source


HALF = SOUND[RATE : RATE + RATE // 2]


@pytest.mark.parametrize(
    "line",
    [
        {"audio_filepath": "a.wav", "offset": 1.0, "duration": 0.5},
        {"path": "a.wav", "offset": 1.0, "duration": 0.5},
        {"audio": "a.wav", "start": 1.0, "end": 1.5},
        {"audio": "a.wav", "start_time": 1, "end_time": 1.5, "text": "x"},
    ],
)
def test_json_and_csv_lines_name_a_stretch(folder, line):
    (folder / "m.jsonl").write_text(json.dumps(line))
    assert np.array_equal(samples(records(folder / "m.jsonl")[0]), HALF)
    for delimiter in ",;\t|":
        rows = [line.keys(), map(str, line.values())]
        (folder / "m.csv").write_text("\ufeff" + "\n".join(map(delimiter.join, rows)))
        assert np.array_equal(samples(records(folder / "m.csv")[0]), HALF)


def test_a_duration_alone_and_past_the_end(folder):
    lines = [{"duration": 0.5}, {"duration": 4.01}, {"duration": 9}, {"offset": 3.8, "duration": 2},
             {"offset": 9}]  # fmt: skip
    text = "\n".join(json.dumps({"audio_filepath": "a.wav", **line}) for line in lines)
    (folder / "m.jsonl").write_text(text)
    first, whole, *past = records(folder / "m.jsonl")
    assert np.array_equal(samples(first), SOUND[: RATE // 2])
    assert np.array_equal(samples(whole), SOUND)
    for record in past:
        with pytest.raises(InputError, match=r"a\.wav: the stretch .* end"):
            load(record)


@pytest.mark.parametrize("field", ["speed", "volume", "num_frames", "transforms"])
def test_fields_that_are_not_done_refuse_the_line(folder, field):
    (folder / "m.jsonl").write_text(json.dumps({"path": "a.wav", field: 1.5}))
    (record,) = records(folder / "m.jsonl")
    assert f"the field {field!r} changes the recording" in record.failure.reason


def test_a_channel(folder):
    (folder / "m.jsonl").write_text(json.dumps({"path": "a.wav", "channel": 1}))
    assert np.array_equal(samples(records(folder / "m.jsonl")[0]), SOUND[:, 1:])


def test_kaldi_segments_a_bom_and_recordings_without_any(folder):
    (folder / "wav.scp").write_text("\ufeffrec a.wav\nother a.wav\n")
    (folder / "segments").write_text("u1 rec 1.0 1.5\nu2 rec 2 -1\nu3 gone 0 1\n")
    (folder / "text").write_text("u1 HELLO\n")
    u1, u2, u3, other = records(folder / "wav.scp")
    assert (u1.id, u1.text) == ("u1", "HELLO")
    assert np.array_equal(samples(u1), HALF)
    assert np.array_equal(samples(u2), SOUND[2 * RATE :])
    assert "no recording of wav.scp" in u3.failure.reason
    assert (other.id, other.failure) == ("other", None)


def test_a_relative_root_of_fairseq_counts_from_here(folder, monkeypatch):
    (folder / "lists").mkdir()
    (folder / "clips").mkdir()
    (folder / "a.wav").rename(folder / "clips" / "a.wav")
    (folder / "lists" / "m.tsv").write_text("clips\na.wav\t32000\n")
    monkeypatch.chdir(folder)
    (record,) = records(folder / "lists" / "m.tsv")
    assert record.refs[0].place.read().startswith(b"RIFF")
