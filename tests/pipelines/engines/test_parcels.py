"""Pieces on their way: the job between the processes touches none, and none is left behind."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fake_step import FakeStep

from pipelines.engines.child import CONTEXT
from pipelines.engines.engine import Numbered
from pipelines.engines.local import LocalEngine
from pipelines.engines.parcel import Parcel
from pipelines.sources.record import FilePlace, ItemRef, Record

LONG_BYTES = 16 * 3_200_000  # of the chunks of a `LONG 16`


def numbered(tmp_path, contents):
    for index, content in enumerate(contents):
        path = tmp_path / f"{index:03d}.png"
        path.write_bytes(content)
        item = ItemRef(kind="image", place=FilePlace(str(path)))
        record = Record(id=path.name, source=str(path), refs=(item,))
        yield Numbered(partition=index, index=index, record=record)


@pytest.mark.parametrize("system", ["linux", "other"])
def test_a_parcel_is_gone_once_it_is_read(system, monkeypatch):
    if system == "other":  # an unlinked temporary file stands in
        monkeypatch.delattr(os, "memfd_create")
    before = num_handles()
    parcel = Parcel.pack({"a": b"x" * 5_000_000})
    assert parcel.num_bytes > 5_000_000
    assert parcel.content() == {"a": b"x" * 5_000_000}
    with pytest.raises(OSError, match="Bad file descriptor"):
        parcel.close()
    ours, theirs = CONTEXT.Pipe()
    with ours, theirs:
        Parcel.pack(list(range(9))).send(ours)
        assert Parcel.receive(theirs, 0).content() == list(range(9))
    assert num_handles() == before


@pytest.mark.parametrize("num_devices", [1, 3])
def test_of_what_devices_are_given_nothing_passes_through_the_job(tmp_path, num_devices):
    """Bytes that the job's own process reads and writes, pipes among them, as the system counts."""
    records = list(numbered(tmp_path, [b"LONG 16 %d" % i for i in range(4)]))
    devices = [f"card{number}" for number in range(num_devices)]
    with LocalEngine(devices=devices, num_workers=2) as engine:
        engine.open(FakeStep())
        before = bytes_read_and_written()
        outcomes = list(engine.run(iter(records)))
        passed = bytes_read_and_written() - before
    assert len(outcomes) == 4 and all(one.row for one in outcomes)
    given = 4 * LONG_BYTES
    rows = sum(np.asarray(one.row["ids"]).nbytes for one in outcomes)
    assert passed < given / 1000 + 2 * rows


@pytest.mark.slow
def test_eight_devices_are_fed_for_less_than_one_copy_of_what_they_are_given(tmp_path):
    """The job's own processor time, beside a copy of the bytes that went from worker to device."""
    count = 8
    records = list(numbered(tmp_path, [b"LONG 16 %d" % i for i in range(count)]))
    source = bytearray(os.urandom(1 << 20)) * (LONG_BYTES >> 20)
    began = time.process_time()
    for _ in range(count):
        bytes(source)
    one_copy = time.process_time() - began
    with LocalEngine(devices=[f"card{i}" for i in range(8)], num_workers=2) as engine:
        engine.open(FakeStep())
        began = time.process_time()
        outcomes = list(engine.run(iter(records)))
        spent = time.process_time() - began
    assert len(outcomes) == count and all(one.row for one in outcomes)
    assert spent < one_copy


def test_a_slow_device_bounds_what_waits_in_memory(tmp_path):
    records = list(numbered(tmp_path, [b"LONG 40 %d" % i for i in range(3)]))
    most: list[int] = []
    with LocalEngine(num_workers=1) as engine:
        engine.open(FakeStep(seconds=0.15))
        pid = engine._workers[0]._child.process.pid
        is_over = threading.Event()

        def watch():
            while not is_over.wait(0.01):
                most.append(waiting_bytes(pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        outcomes = list(engine.run(iter(records)))
        is_over.set()
        watcher.join()
    assert len(outcomes) == 3 and all(one.row for one in outcomes)
    # One report on its way, and the next one written down: 8 MB each, and a piece of 4 MB beyond.
    assert 0 < max(most) <= 2 * (13 << 20)


@pytest.mark.parametrize("dies", ["worker", "device"])
def test_no_handle_stays_open_when_a_process_is_killed(tmp_path, dies):
    contents = [b"LONG 8 %d" % i for i in range(6)]
    flag = tmp_path / "flag"
    if dies == "worker":
        contents[2] = b"KILL once %s" % os.fsencode(flag)
    records = list(numbered(tmp_path, contents))
    before = num_handles()
    with LocalEngine(num_workers=2) as engine:
        engine.open(FakeStep(kill_device=str(flag) if dies == "device" else ""))
        outcomes = list(engine.run(iter(records)))
    assert sorted(one.index for one in outcomes) == list(range(6)) and flag.exists()
    assert num_handles() <= before + 1  # the resource tracker's, started once


def bytes_read_and_written():
    """Of this process since it began, whatever from and to."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"]) + int(counts["wchar"])


def num_handles():
    return len(list(Path("/proc/self/fd").iterdir()))


def waiting_bytes(pid):
    """Bytes in nameless memory that a process holds open."""
    total = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if "memfd:dvse" in str(link.readlink()):
                total += link.stat().st_size
        except OSError:
            continue
    return total
