"""Manifests that are one JSON array, as LLaVA, ShareGPT and many others ship theirs."""

import gzip
import io
import json

import pytest
from source_reading import described, records

from dvse.errors import DecodeError
from pipelines.sources import json_array

CONVERSATION = {
    "id": "000000033471",
    "image": "a.png",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is this?"},
        {"from": "gpt", "value": 'A cat, "asleep" ]}.'},
    ],
}
ROWS = [
    CONVERSATION,
    {"audio_filepath": "a.wav", "text": "一", "offset": 0.5, "duration": 1.0},
    {"text": "alone"},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(b"P")
    (tmp_path / "a.wav").write_bytes(b"A")
    return tmp_path


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ending", [".json", ".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_elements_are_what_lines_would_be(folder, monkeypatch, indent, ending, is_ascii):
    monkeypatch.setattr(json_array, "_BLOCK", 16)
    written = json.dumps(ROWS, indent=indent, ensure_ascii=is_ascii).encode()
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "lines.jsonl").write_text(lines)
    array = folder / f"array{ending}"
    array.write_bytes(
        gzip.compress(written) if ending.endswith("gz") else b"\xef\xbb\xbf" + written
    )
    found, expected = records(array), records(folder / "lines.jsonl")
    assert [r.refs for r in found] == [r.refs for r in expected]
    assert [r.text for r in found] == [r.text for r in expected] == [None, "一", None]
    assert [r.id for r in found] == ["000000033471", "a.wav", f"{array}:3"]
    assert found[1].refs[0].start_s == 0.5


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ("", "expected ',', received its end"),
        (",", "element 4 of the array; Expecting value"),
        (', {"te', "element 4 of the array"),
        (' {"text": "b"}]', "expected ',', received '{'"),
        ("] []", "more follows behind the end"),
    ],
)
def test_an_array_that_breaks_off_costs_its_end_alone(folder, tail, reason):
    whole = json.dumps(ROWS)
    (folder / "m.json").write_text(whole[:-1] + tail)
    *good, last = records(folder / "m.json")
    assert len(good) == 3 and all(r.failure is None for r in good)
    assert (last.id, reason in last.failure.reason) == (f"{folder}/m.json#end", True)


def test_one_object_of_an_array_that_cannot_be_used_costs_itself(folder):
    rows = [ROWS[2], {"text": 3}, [1], "a", ROWS[2]]
    (folder / "m.json").write_text(json.dumps(rows))
    good = [record.failure is None for record in records(folder / "m.json")]
    assert good == [True, False, False, False, True]


def test_lists_that_hold_no_objects_are_no_manifests(folder):
    for text in ("[1, 2]", "[]", '["a.png"]', "[[{}]]"):
        (folder / "m.json").write_text(text)
        assert "unknown extension" in described(records(folder / "m.json")[0]), text


def test_numbers_at_the_end_of_a_block_are_read_whole(monkeypatch):
    for size in range(3, 30):
        monkeypatch.setattr(json_array, "_BLOCK", size)
        found = list(json_array.elements(io.BytesIO(b'[{"a": 1}, 123456 , -1.5e3]')))
        assert found == ['{"a": 1}', "123456", "-1.5e3"]


def test_a_file_without_an_end_is_not_held_whole(monkeypatch):
    monkeypatch.setattr(json_array, "_LARGEST_ELEMENT", 1 << 16)

    class Endless(io.RawIOBase):
        num_read = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            begin = b'[{"a": "' if not self.num_read else b""
            buffer[:] = begin + b"x" * (len(buffer) - len(begin))
            self.num_read += len(buffer)
            return len(buffer)

    endless = Endless()
    with pytest.raises(DecodeError, match="element 1 of the array"):
        next(json_array.elements(endless))
    assert endless.num_read < 1 << 19
