"""Names of a large folder, held on disk, are those of a small one, held in memory."""

import os
import random
from pathlib import Path

import pytest

from pipelines.job.plan import write_listing
from pipelines.sources import folder_names
from pipelines.sources.folder_names import FolderNames
from pipelines.sources.registry import SourceOptions

ODD = [
    "é.png",
    "日本.txt",
    "a b",
    "a\nb.png",
    "caf\udce9.png",
    ".hidden.wav",
    "a",
    "a-1.png",
    "a.png",
]


@pytest.fixture
def few_in_memory(monkeypatch):
    monkeypatch.setattr(folder_names, "MOST_IN_MEMORY", 3)


@pytest.mark.parametrize("count", [0, 3, 4, 40])
def test_every_order_of_finding_them_gives_the_order_of_their_bytes(few_in_memory, count):
    found = {name: index % 4 == 0 for index, name in enumerate(ODD[:count])}
    found |= {f"{number}.jpg": False for number in range(count - len(ODD))}
    wanted = sorted(found.items(), key=lambda item: os.fsencode(item[0]))
    for seed in range(3):
        children = list(found.items())
        random.Random(seed).shuffle(children)
        names = FolderNames(iter(children), is_there=found.__contains__)
        assert list(names.items()) == list(names.items()) == wanted
        assert (len(names), list(names)) == (len(wanted), [name for name, _ in wanted])
        files = [n for n, is_folder in found.items() if not is_folder and n[0] != "."]
        assert names.endings == {n[n.rfind(".") :] for n in files}
        assert all(name in names for name in found) and "nothing" not in names


def test_what_is_removed_is_gone(few_in_memory):
    found = dict.fromkeys("abcdefgh", False)
    names = FolderNames(found.items(), is_there=found.__contains__)
    names.remove("c")
    names.remove("h")
    assert "".join(names) == "abdefg" and "c" not in names and len(names) == 6
    assert names & {"a", "c"} == {"a"}
    assert {"a", "b"} <= names and not {"a", "c"} <= names


def tree(folder):
    files = {
        "cat/1.png": b"1", "cat/2.PNG": b"2", "cat/3.jpg": b"3", "cat/4.jpg": b"4",
        "dog/1.png": b"1", "dog/._2.png": b"2", "dog/.git/x.png": b"x", "dog/a.jpeg": b"a",
        "dog/b.jpeg": b"b", "dog/c.jpeg": b"c",
    }  # fmt: skip
    captioned = {f"t/{n}.png": b"p" for n in range(6)} | {
        f"t/{n}.txt": b"t" for n in range(0, 6, 2)
    }
    kaldi = {
        **{f"k/{n}.wav": b"w" for n in range(6)},
        "k/wav.scp": b"u1 k/1.wav\n", "k/text": b"u1 hello\n", "k/spk2utt": b"s u1\n",
    }  # fmt: skip
    odd = {f"o/{os.fsdecode(os.fsencode(name))}": b"x" for name in ODD if "/" not in name}
    for top, some in (("classes", files), ("all", files | captioned | kaldi | odd)):
        for name, data in some.items():
            path = folder / top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (folder / "all" / "broken.png").symlink_to("nowhere")
    (folder / "all" / "again").symlink_to("o")


@pytest.mark.parametrize("template", [None, "{image}{text}"])
def test_a_listing_is_the_same_however_its_names_are_held(tmp_path, monkeypatch, template):
    tree(tmp_path / "in")
    monkeypatch.chdir(tmp_path / "in" / "all")
    found = []
    for most in (100_000, 2):
        monkeypatch.setattr(folder_names, "MOST_IN_MEMORY", most)
        for typed in (str(tmp_path / "in"), "../classes", ".", str(tmp_path / "in/all/t")):
            options = SourceOptions(template=template)
            summary = write_listing(Path(tmp_path / "listing"), [typed], options)
            found.append(((tmp_path / "listing").read_text(), summary))
    assert found[:4] == found[4:]
    assert '"cat"' in found[1][0] or template, "classes are labels"
    assert found[0][1].left_out.num_hidden >= 4
