"""Parts of a job whose output is a store, which knows no locks: here fsspec's own, in memory."""

import itertools
import json
import threading
import time

import fsspec
import pytest
from fake_step import FakeStep

from dvse.errors import ResumeError
from dvse.remote.remote_path import RemotePath
from dvse.storage.shard import find_shards, read_shard
from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.job.missing_parts import missing_parts
from pipelines.job.open_journal import open_journal
from pipelines.job.part_job import PartJob
from pipelines.job.store_journal import StoreJournal
from pipelines.job.store_occupation import StoreOccupation


@pytest.fixture
def store(monkeypatch):
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    monkeypatch.setattr(StoreOccupation, "beat_s", 1.0)
    yield RemotePath("memory://bucket")
    fs.store.clear()


@pytest.fixture
def inputs(store):
    for number in range(20):
        path = store / "in" / f"p{number:03d}.png"
        path.write_bytes(b"BAD" if number % 7 == 3 else b"SLEEP 0.005 %d" % number)
    for name in ("x", "y"):
        lines = [json.dumps({"id": f"{n:03d}", "text": f"{name} {n}"}) for n in range(9)]
        (store / "in" / f"{name}.jsonl").write_bytes("\n".join(lines).encode())
    return str(store / "in")


def run(inputs, output, **options):
    config = JobConfig(inputs=[inputs], output=output, shard_size=4, **options)
    job = Job if config.part is None else PartJob
    return job(config, FakeStep(), InlineEngine()).run()


def state(output):
    shards = {path.name: path.read_bytes() for path in find_shards(output)}
    summary = json.loads((output / "summary.json").read_bytes())
    counts = {name: summary[name] for name in ("num_inputs", "num_rows", "num_missing")}
    return shards, (output / "errors.jsonl").read_bytes(), counts


@pytest.fixture
def wanted(inputs, store):
    run(inputs, store / "whole")
    names = [i for p in find_shards(store / "whole") for i in read_shard(p)["id"].to_pylist()]
    assert "008#2" in names
    return state(store / "whole")


def test_parts_one_after_another_are_the_whole(inputs, wanted, store):
    for number in (2, 3, 1):
        summary = run(inputs, store / "out", part=f"{number}/3")
    assert summary.num_missing == 0
    assert state(store / "out") == wanted
    assert run(inputs, store / "out").new_inputs == 0


def test_parts_at_the_same_time_make_one_plan_and_the_whole(inputs, wanted, store):
    found = {}

    def one(number):
        found[number] = run(inputs, store / "out", part=f"{number}/3")

    threads = [threading.Thread(target=one, args=(n,)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [1, 2, 3]
    assert state(store / "out") == wanted
    listings = list((store / "out" / ".job").glob("listing-*.jsonl"))
    assert len(listings) == 1


def test_a_listing_that_is_not_what_its_name_says_is_refused(inputs, store):
    """A part that read an empty one would find nothing to do and say that nothing is missing."""
    out = store / "out"
    run(inputs, out, part="1/2")
    (listing,) = (out / ".job").glob("listing-*.jsonl")
    listing.write_bytes(b"")
    with pytest.raises(ResumeError, match=r"listing-.*: its bytes are not those"):
        run(inputs, out, part="2/2")


def test_who_was_to_make_the_plan_and_is_lost_is_not_waited_for_for_ever(inputs, wanted, store):
    plan = store / "out" / ".job" / "plan"
    (plan / "000000.0").write_bytes(json.dumps({"owner": "killed"}).encode())
    for number in (1, 2):
        run(inputs, store / "out", part=f"{number}/2")
    assert state(store / "out") == wanted
    assert sorted(path.name for path in plan.glob("*")) == ["000000.0", "000000.1"]


def test_what_is_missing_is_said_and_taken_over(inputs, wanted, store):
    out = store / "out"
    run(inputs, out, part="2/2")
    journal = open_journal(out)
    (line,) = missing_parts(journal, journal.done(), 4)
    assert line.startswith("part 1/2 is not finished (it never began)")
    assert run(inputs, out, part="2/2", take_over_s=3.0).num_missing == 0
    assert state(out) == wanted


def test_whoever_waits_for_others_looks_seldom_where_a_look_takes_long(inputs, store, monkeypatch):
    """A look lists every marker: of a million that is a thousand requests."""
    out, looks = store / "out", []
    run(inputs, out, part="2/2")
    plain = StoreJournal.done

    def slow(self):
        looks.append(time.monotonic())
        time.sleep(0.15)
        return plain(self)

    monkeypatch.setattr(StoreJournal, "done", slow)
    assert run(inputs, out, part="2/2", take_over_s=3.0).num_missing == 0
    pauses = [later - sooner for sooner, later in itertools.pairwise(looks)]
    assert max(pauses) >= 1.4, "ten times as long as a look, half the patience at most"
