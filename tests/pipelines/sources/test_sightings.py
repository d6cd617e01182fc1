"""What a lister saw before spares the next one a look, and never a change that it promises."""

import io
import os
import tarfile

import pytest
from fake_step import FakeStep

from dvse.errors import ResumeError
from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.job.plan import write_listing
from pipelines.sources.registry import SourceOptions
from pipelines.sources.sightings import Sightings, are_unchanged
from pipelines.sources.tars import TarSource


def long_ago(folder):
    """Nothing happened here in the last seconds."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (1e9, 1e9))


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "in"
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    write_tar(folder / "c.tar.gz", 3)
    (tmp_path / "alone.wav").write_bytes(b"alone")
    long_ago(folder)
    return [str(folder), str(tmp_path / "alone.wav")]


def write_tar(path, num_members):
    with tarfile.open(path, "w:gz") as archive:
        for number in range(num_members):
            info = tarfile.TarInfo(f"{number}.txt")
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))


def listed(tmp_path, inputs, before=None):
    seen, listing = tmp_path / "seen.new", tmp_path / "listing"
    found = write_listing(listing, inputs, SourceOptions(), seen=Sightings(seen, before))
    seen.replace(tmp_path / "seen")
    return found.sha256, listing.read_bytes()


@pytest.fixture
def opened(monkeypatch):
    """The tars that are read through to count their samples."""
    found = []
    contents = TarSource.contents
    monkeypatch.setattr(
        TarSource, "contents", lambda self, entry: found.append(entry.path) or contents(self, entry)
    )
    return found


def test_a_container_is_counted_once_and_again_when_it_is_another(tmp_path, inputs, opened):
    first = listed(tmp_path, inputs)
    assert len(opened) == 1
    assert listed(tmp_path, inputs, tmp_path / "seen") == first
    assert listed(tmp_path, inputs, tmp_path / "seen") == first
    assert len(opened) == 1
    write_tar(tmp_path / "in" / "c.tar.gz", 4)
    second = listed(tmp_path, inputs, tmp_path / "seen")
    assert len(opened) == 2
    assert second == listed(tmp_path, inputs) != first


def test_containers_are_known_again_where_others_came_between_or_went(tmp_path, inputs, opened):
    for number in range(5):
        write_tar(tmp_path / "in" / f"d{number}.tar.gz", number + 1)
    listed(tmp_path, inputs)
    (tmp_path / "in" / "d1.tar.gz").unlink()
    write_tar(tmp_path / "in" / "d0a.tar.gz", 9)
    opened.clear()
    again = listed(tmp_path, inputs, tmp_path / "seen")
    assert opened == [str(tmp_path / "in" / "d0a.tar.gz")]
    assert again == listed(tmp_path, inputs)


def _overwrite(folder):
    (folder / "in/a/1.png").write_bytes(b"other bytes")


CHANGES = {
    "a file is new": lambda f: (f / "in/a/9.png").write_bytes(b"9"),
    "a file is gone": lambda f: (f / "in/b/3.png").unlink(),
    "a file has another name": lambda f: (f / "in/a/2.png").rename(f / "in/a/8.png"),
    "a folder is new": lambda f: (f / "in/e").mkdir(),
    "a folder took the place of another": lambda f: [
        (f / "in/a").rename(f / "away"),
        (f / "in/a").mkdir(),
    ],
    "a container grew": lambda f: write_tar(f / "in/c.tar.gz", 9),
    "a file named by itself was written over": lambda f: (f / "alone.wav").write_bytes(b"longer"),
    "a caption stands beside it now": lambda f: (f / "alone.txt").write_text("a caption"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_folders_and_containers_show_every_change_of_what_is_there(tmp_path, inputs, change):
    sha256, _ = listed(tmp_path, inputs)
    assert are_unchanged(tmp_path / "seen", sha256)
    assert not are_unchanged(tmp_path / "seen", "of another listing")
    change(tmp_path)
    assert not are_unchanged(tmp_path / "seen", sha256)


def test_a_file_written_over_in_place_is_what_folders_do_not_show(tmp_path, inputs):
    sha256, _ = listed(tmp_path, inputs)
    _overwrite(tmp_path)
    assert are_unchanged(tmp_path / "seen", sha256)
    assert listed(tmp_path, inputs)[0] != sha256


@pytest.mark.parametrize("typed", ["in/*/*.png", "in/broken.parquet", "nowhere/*.tar"])
def test_what_no_stamp_can_speak_for_is_always_looked_at(tmp_path, inputs, typed):
    (tmp_path / "in" / "broken.parquet").write_bytes(b"no parquet")
    long_ago(tmp_path / "in")
    sha256, _ = listed(tmp_path, [*inputs, str(tmp_path / typed)])
    assert not are_unchanged(tmp_path / "seen", sha256)


def test_what_is_missing_is_seen_to_come(tmp_path, inputs):
    sha256, _ = listed(tmp_path, [*inputs, str(tmp_path / "later.png")])
    assert are_unchanged(tmp_path / "seen", sha256)
    (tmp_path / "later.png").write_bytes(b"later")
    assert not are_unchanged(tmp_path / "seen", sha256)


def test_a_folder_that_changed_just_now_may_change_again_unseen(tmp_path, inputs):
    os.utime(tmp_path / "in")
    sha256, _ = listed(tmp_path, inputs)
    assert not are_unchanged(tmp_path / "seen", sha256)


def test_what_a_killed_lister_left_counts_for_nothing(tmp_path, inputs):
    sha256, _ = listed(tmp_path, inputs)
    data = (tmp_path / "seen").read_bytes()
    for end in (0, len(data) // 2, len(data) - 5):
        (tmp_path / "seen").write_bytes(data[:end])
        assert not are_unchanged(tmp_path / "seen", sha256)
    (tmp_path / "seen").unlink()
    assert not are_unchanged(tmp_path / "seen", sha256)


def run(tmp_path, inputs, **options):
    config = JobConfig(inputs=inputs, output=tmp_path / "out", shard_size=4, **options)
    return Job(config, FakeStep(), InlineEngine()).run()


def test_a_job_trusts_folders_only_where_it_is_told_to(tmp_path, inputs, monkeypatch):
    assert run(tmp_path, inputs).num_rows == 7
    _overwrite(tmp_path)
    assert run(tmp_path, inputs, trust_folders=True).new_inputs == 0
    with pytest.raises(ResumeError, match=r"changed: .*1\.png"):
        run(tmp_path, inputs)
    with pytest.raises(ResumeError, match=r"changed: .*1\.png"):  # a look that was refused is none
        run(tmp_path, inputs, trust_folders=True)
    run(tmp_path, inputs, redo_changed=True)
    (tmp_path / "in/a/9.png").write_bytes(b"9")
    for _ in range(2):
        with pytest.raises(ResumeError, match=r"added: .*9\.png"):
            run(tmp_path, inputs, trust_folders=True)
    with pytest.raises(ResumeError, match="removed"):
        run(tmp_path, inputs[1:], trust_folders=True)
    long_ago(tmp_path / "in")
    assert run(tmp_path, inputs, append=True, trust_folders=True).new_inputs == 1
    monkeypatch.setattr("pipelines.job.beginning.write_listing", None)
    assert run(tmp_path, inputs, trust_folders=True).num_rows == 8
