"""The engine of this machine when decoders crash, hang, are killed, and when devices die."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_step import FakeStep

from dvse.errors import ConfigError, WorkerDiedError
from dvse.storage.shard import read_shard
from pipelines.engines.inline import InlineEngine
from pipelines.engines.local import LocalEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job

SUPPORT = Path(__file__).parents[1] / "support"


def run(folder, output, *, step=None, engine=None, **options):
    config = JobConfig(inputs=[str(folder)], output=output, shard_size=8, **options)
    return Job(config, step or FakeStep(), engine or LocalEngine(num_workers=2)).run()


def make(folder, contents):
    folder.mkdir(exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


def good(count):
    return {f"g{i:03d}.png": b"picture %d" % i for i in range(count)}


def ids(output):
    return [i for p in sorted(output.glob("*.parquet")) for i in read_shard(p)["id"].to_pylist()]


def errors(output):
    lines = (output / "errors.jsonl").read_text().splitlines()
    return {e["id"]: e for e in map(json.loads, lines)}


@pytest.mark.parametrize(("word", "how"), [("CRASH", "SIGSEGV"), ("EXIT", "code 3")])
def test_decoder_that_crashes_costs_its_own_input_only(tmp_path, word, how):
    folder = make(tmp_path / "in", good(20) | {"g007x.png": word.encode()})
    summary = run(folder, tmp_path / "out")
    assert (summary.num_rows, summary.num_errors) == (20, 1)
    line = errors(tmp_path / "out")["g007x.png"]
    assert (line["stage"], line["type"]) == ("decode", "ChildProcessError")
    assert how in line["reason"]
    assert ids(tmp_path / "out") == sorted(good(20))


def test_decoder_that_never_returns_costs_its_own_input_only(tmp_path):
    folder = make(tmp_path / "in", good(20) | {"g007x.png": b"HANG"})
    began = time.monotonic()
    run(folder, tmp_path / "out", engine=LocalEngine(num_workers=2, time_limit_s=1.0))
    assert time.monotonic() - began < 30
    line = errors(tmp_path / "out")["g007x.png"]
    assert (line["stage"], line["type"]) == ("decode", "TimeoutError")
    assert "no progress in 1 seconds" in line["reason"]
    assert ids(tmp_path / "out") == sorted(good(20))


def test_worker_killed_once_is_tried_again(tmp_path):
    flag = tmp_path / "flag"
    folder = make(tmp_path / "in", good(20) | {"g007x.png": b"KILL once " + os.fsencode(str(flag))})
    summary = run(folder, tmp_path / "out")
    assert (summary.num_rows, summary.num_errors) == (21, 0)
    run(folder, tmp_path / "calm", engine=InlineEngine())
    for shard in (tmp_path / "calm").glob("*.parquet"):
        assert (tmp_path / "out" / shard.name).read_bytes() == shard.read_bytes()


def test_worker_killed_twice_fails_naming_the_partition_and_the_input(tmp_path):
    folder = make(tmp_path / "in", good(20) | {"g013x.png": b"KILL"})
    with pytest.raises(WorkerDiedError, match=r"partition 1: .*SIGKILL.*g013x\.png.*second time"):
        run(folder, tmp_path / "out")
    (folder / "g013x.png").write_bytes(b"KILL"[:3])
    assert (tmp_path / "out" / "summary.json").exists()


def test_device_process_killed_once_is_replaced(tmp_path):
    folder = make(tmp_path / "in", good(40))
    step = FakeStep(kill_device=str(tmp_path / "flag"))
    summary = run(folder, tmp_path / "out", step=step)
    assert summary.num_rows == 40
    assert ids(tmp_path / "out") == sorted(good(40))


def test_device_process_killed_again_and_again_fails(tmp_path):
    step = FakeStep(kill_device=str(tmp_path / "always"))
    with pytest.raises(WorkerDiedError, match="the process of device cpu died"):
        run(make(tmp_path / "in", good(20)), tmp_path / "out", step=step)


@pytest.mark.parametrize("engine", [InlineEngine(), LocalEngine(num_workers=2)])
def test_an_error_while_encoding_costs_its_own_input_only(tmp_path, engine):
    folder = make(tmp_path / "in", good(20) | {"g007x.png": b"POISON", "g008x.png": b"WEIRD"})
    run(folder, tmp_path / "out", engine=engine)
    found = errors(tmp_path / "out")
    assert (found["g007x.png"]["stage"], found["g007x.png"]["reason"]) == (
        "encode",
        "poisoned chunk",
    )
    assert (found["g008x.png"]["stage"], found["g008x.png"]["type"]) == (
        "decode",
        "ZeroDivisionError",
    )
    assert ids(tmp_path / "out") == sorted(good(20))


def test_long_inputs_travel_in_pieces_and_come_out_whole(tmp_path):
    folder = make(tmp_path / "in", good(5) | {"long.wav": b"LONG 40"})
    run(folder, tmp_path / "out", engine=LocalEngine(num_workers=2, max_chunks=4))
    table = read_shard(tmp_path / "out" / "shard-000000.parquet").to_pylist()
    row = next(r for r in table if r["id"] == "long.wav")
    assert len(row["ids"]) == 40 * 32
    assert row["duration_s"] == 20.0


def test_numbers_below_one_are_refused():
    with pytest.raises(ConfigError, match="at least 1 worker"):
        LocalEngine(num_workers=0)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_cleanly_within_seconds_and_the_rerun_finishes(tmp_path, sent):
    folder = make(tmp_path / "in", {f"s{i:03d}.png": b"SLEEP 0.05 %d" % i for i in range(120)})
    process = start(folder, tmp_path / "out")
    wait_for(lambda: list((tmp_path / "out").glob("*.parquet")))
    began = time.monotonic()
    process.send_signal(sent)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 128 + sent, err
    assert f"stopped by {sent.name}" in out
    done = len(list((tmp_path / "out").glob("*.parquet")))
    assert 0 < done < 15
    summary = run(folder, tmp_path / "out", engine=LocalEngine(num_workers=4))
    assert summary.num_rows == 120
    assert summary.new_inputs == 120 - 8 * done


def test_no_process_outlives_a_killed_job(tmp_path):
    folder = make(tmp_path / "in", good(10) | {"hang.png": b"HANG"})
    process = start(folder, tmp_path / "out")
    wait_for(lambda: children(process.pid, 4))
    pids = children(process.pid, 4)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(alive(pid) for pid in pids))


def start(folder, output):
    return subprocess.Popen(
        [sys.executable, SUPPORT / "fake_job.py", folder, output],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[3],
    )


def children(pid, expected):
    found = Path(f"/proc/{pid}/task/{pid}/children")
    pids = [int(p) for p in found.read_text().split()] if found.exists() else []
    return pids if len(pids) >= expected else []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
