"""Who counts as lost, and who may take over what: on a clock that the tests turn themselves."""

import json
import os
import threading
import time

import pytest

from pipelines.job.beats import Beat, Heart, Watch, beats, forget_other_counts, part_key
from pipelines.job.part import Part
from pipelines.job.takeover import Claims, left_behind

ONE, TWO, THREE = (Part(number=n, count=3) for n in (1, 2, 3))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(tmp_path, clock):
    return Watch(tmp_path, patience_s=10, clock=clock)


def beat(folder, part, count, state="working", owner=None):
    document = {"part": str(part), "owner": owner or f"of {part}", "count": count, "state": state}
    (folder / f"{part_key(part)}.json").write_text(json.dumps(document))


def test_a_part_whose_counter_stands_still_for_so_long_is_lost(tmp_path, watch, clock):
    beat(tmp_path, ONE, 1)
    beat(tmp_path, TWO, 1)
    watch.look()
    for count in range(2, 6):
        clock.now += 3
        beat(tmp_path, ONE, count)
        watch.look()
    assert watch.working() == [ONE]
    beat(tmp_path, TWO, 2)
    watch.look()
    assert watch.working() == [ONE, TWO]


def test_times_of_files_and_the_clock_of_the_day_do_not_matter(tmp_path, watch, clock, monkeypatch):
    """Machines whose clocks are years apart, and one that is set while it watches."""
    beat(tmp_path, ONE, 1)
    watch.look()
    for count, day in ((2, 0), (3, 4e9), (4, 1)):
        clock.now += 6
        beat(tmp_path, ONE, count)
        os.utime(tmp_path / f"{part_key(ONE)}.json", (day, day))
        monkeypatch.setattr(time, "time", lambda day=day: day)
        watch.look()
        assert watch.working() == [ONE]


def test_a_part_that_stopped_is_lost_at_once_and_one_that_never_came_later(tmp_path, watch, clock):
    beat(tmp_path, ONE, 7, state="stopped")
    watch.look()
    assert watch.working() == []
    assert watch.is_missing(TWO)
    assert list(left_behind(range(9), THREE, watch, 9)) == [0, 1, 2, 6, 7, 8]
    clock.now += 10
    assert not watch.is_missing(TWO)
    assert list(left_behind(range(9), THREE, watch, 9)) == list(range(9))


def test_what_a_part_of_another_count_works_at_is_left_to_it(tmp_path, watch):
    beat(tmp_path, Part(number=1, count=2), 1)
    for part in (ONE, TWO):
        beat(tmp_path, part, 1, state="stopped")
    watch.look()
    assert list(left_behind(range(10), THREE, watch, 10)) == [5, 6, 7, 8, 9]


def test_one_of_many_gets_a_claim(tmp_path, watch):
    got = []

    def claim(owner):
        if Claims(tmp_path / "claims", owner, watch).take(7):
            got.append(owner)

    for name in ("a", "b", "c", "d", "e", "f"):
        beat(tmp_path, Part(number=ord(name) - 96, count=6), 1, owner=name)
    watch.look()
    threads = [threading.Thread(target=claim, args=(name,)) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    # Whoever has it has it when asked again.
    assert Claims(tmp_path / "claims", got[0], watch).take(7)


def test_a_claim_of_a_lost_owner_goes_to_the_next_one(tmp_path, watch, clock):
    beat(tmp_path, ONE, 1, state="done", owner="first")
    beat(tmp_path, TWO, 1, state="done", owner="second")
    watch.look()
    first, second = (Claims(tmp_path / "claims", o, watch) for o in ("first", "second"))
    assert first.take(3)
    assert not second.take(3)
    clock.now += 10
    beat(tmp_path, TWO, 2, state="done", owner="second")
    assert second.take(3)
    # The first goes on after all: it sees that its claim is no longer the last one… and may do it
    # again all the same, for the bytes are the same.
    assert first.take(4)
    third = Claims(tmp_path / "claims", "third", watch)
    assert not third.take(3)


def test_a_heart_beats_and_says_how_it_ended(tmp_path):
    heart = Heart(tmp_path, ONE, every_s=0.01)
    with heart.beating():
        time.sleep(0.1)
        (alive,) = beats(tmp_path)
        assert alive.state == "working"
        assert alive.count > 2
    (ended,) = beats(tmp_path)
    assert (ended.state, ended.owner) == ("stopped", heart.owner)
    other = Heart(tmp_path, ONE, every_s=10)
    with other.beating():
        other.say("done")
    assert beats(tmp_path) == [Beat(part="1/3", owner=other.owner, count=2, state="done")]
    assert other.owner != heart.owner


def test_beats_of_another_count_are_forgotten_and_damaged_ones_are_none(tmp_path):
    beat(tmp_path, ONE, 1)
    beat(tmp_path, Part(number=1, count=2), 1)
    (tmp_path / "00003-of-00003.json").write_text("{")
    forget_other_counts(tmp_path, 2)
    assert [found.part for found in beats(tmp_path)] == ["1/2"]
