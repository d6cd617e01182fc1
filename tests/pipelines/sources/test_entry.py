"""Shortcuts that a million entries need say what the long way says."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.job.numbering import Numbering
from pipelines.sources.entry import BOUNDARY, HOLE, Entry, Stamp
from pipelines.sources.kinds import extension

ODD = ["a.png", 'q"uo\\te.jpg', "a\nb.png", "caf\udce9.wav", "日本.txt", "\x00", "", "😀.flac"]


@given(
    st.sampled_from(["image", "audio", "tar"]),
    st.text() | st.sampled_from(ODD),
    st.text(),
    st.none() | st.text(min_size=1) | st.sampled_from(ODD[:5]),
)
def test_a_plain_entry_is_the_json_that_json_would_write(kind, path, name, label):
    entry = Entry(kind=kind, path=path, name=name, count=3, stamp=Stamp(5, 7), label=label)
    rest = [] if label is None else [None, None, [], None, 0, None, None, label]
    wanted = json.dumps([kind, path, name, 3, [5, 7], *rest], separators=(",", ":"))
    assert entry.to_json() == wanted
    assert Entry.from_json(wanted) == entry


DOUBLES = (".tar.gz", ".tar.bz2", ".tar.xz", ".jsonl.gz")


def extension_by_os_path(path):
    name = os.path.basename(path).lower()  # noqa: PTH119
    double = next((d for d in DOUBLES if name.endswith(d) and len(name) > len(d)), None)
    return double or os.path.splitext(name)[1]  # noqa: PTH122


@given(st.text(alphabet="a.BG/zxtr", max_size=12) | st.sampled_from(ODD))
def test_an_extension_is_what_os_path_calls_one(path):
    for ending in ("", ".tar.gz", ".gz", ".TAR.XZ", ".jsonl.gz", ".jsonl.xz", ".tar.bz2", "."):
        assert extension(path + ending) == extension_by_os_path(path + ending)


@pytest.mark.parametrize("length", [None, 4])
def test_numbers_of_a_listing_are_counted_whatever_stands_in_it(tmp_path, length):
    entries = [
        Entry(kind="image", path="/a", name='["hole",', stamp=Stamp(1, 1)),
        Entry(kind="text", path="/b", name="b", caption="/b.txt"),
        Entry(kind=HOLE, path="", name="", count=3),
        Entry(kind="tar", path="/c", name="c", count=10),
        Entry(kind=BOUNDARY, path="", name="", count=2),
        Entry(kind="hub", path="hf:x", name="x", count=None),
        Entry(kind="group", path="/d", name="d", members=("/d.png",)),
    ]
    path = tmp_path / "listing.jsonl"
    path.write_text("".join(entry.to_json() + "\n" for entry in entries))
    found = Numbering.of(path, {} if length is None else {5: length})
    assert found.holes == (range(2, 5),)
    numbers = 1 + 1 + 3 + 10 + 2 + 4 + 1
    assert found.num_numbers == (None if length is None else numbers)
    assert found.num_inputs == (None if length is None else numbers - 5)
