"""Jobs that write to a real S3 server through a network that fails, killed again and again.

Whatever happens: run it again, and every input is there once, in the bytes of an undisturbed job.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_step import FakeStep
from s3_server import KEY, SECRET, make_bucket, running

from dvse.remote import object_store
from dvse.remote.patience import Patience
from dvse.remote.remote_path import location
from pipelines.engines.inline import InlineEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job
from pipelines.job.part_job import PartJob
from pipelines.job.store_occupation import StoreOccupation

SUPPORT = Path(__file__).parents[1] / "pipelines" / "support"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def s3():
    with running() as server:
        yield server


class Bucket:
    """A bucket, looked at by a plain client."""

    def __init__(self, s3, name):
        self.s3, self.name = s3, name
        self.client = make_bucket(s3, name)

    @property
    def output(self):
        return f"s3://{self.name}/out"

    def names(self, prefix="out/"):
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return [o["Key"] for page in pages for o in page.get("Contents", [])]

    def read(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def markers(self):
        return self.names("out/.job/done/")

    def state(self):
        """Shards by the names that they have on a disk, and the error lines."""
        shards = {}
        for key in self.names("out/shard-"):
            number = key.removeprefix("out/shard-")[:6]
            assert f"shard-{number}.parquet" not in shards, "two shards of a partition"
            shards[f"shard-{number}.parquet"] = self.read(key)
        return shards, self.read("out/errors.jsonl")

    def put_folder(self, folder):
        for path in sorted(folder.iterdir()):
            self.client.put_object(Bucket=self.name, Key=f"in/{path.name}", Body=path.read_bytes())
        return f"s3://{self.name}/in"


@pytest.fixture
def bucket(s3, request):
    s3.faults.planned.clear()
    s3.faults.share = 0.0
    yield Bucket(s3, "chaos-" + str(abs(hash(request.node.name)) % 10**8))
    s3.faults.planned.clear()
    s3.faults.share = 0.0


def make_folder(folder, count):
    folder.mkdir()
    for number in range(count):
        data = b"SLEEP 0.01 %d" % number if number % 3 else b"picture %d" % number
        (folder / f"p{number:04d}.png").write_bytes(b"BAD" if number % 17 == 5 else data)
    return folder


def clean(folder, output):
    """Shards and error lines of an undisturbed job on a disk."""
    config = JobConfig(inputs=[str(folder)], output=output, shard_size=8)
    Job(config, FakeStep(), InlineEngine()).run()
    shards = {path.name: path.read_bytes() for path in sorted(output.glob("*.parquet"))}
    return shards, (output / "errors.jsonl").read_bytes()


def start(folder, bucket, workers=1, *flags):
    return subprocess.Popen(
        [sys.executable, SUPPORT / "fake_job.py", folder, bucket.output, str(workers), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=ROOT,
        env=os.environ | bucket.s3.environment,
    )


def finish(folder, bucket, code=0):
    printed, _ = (process := start(folder, bucket)).communicate(timeout=120)
    assert process.returncode == code, printed
    return printed


@pytest.mark.slow
@pytest.mark.timeout(1800)  # twenty jobs, each beginning with a process and a look at the store
@pytest.mark.parametrize("rounds", [2, 20])
def test_killed_at_any_moment_while_the_network_fails(tmp_path, bucket, rounds):
    rng = random.Random(rounds)
    folder = make_folder(tmp_path / "in", 24 * rounds)
    wanted = clean(folder, tmp_path / "clean")
    bucket.s3.faults.share, bucket.s3.faults.rng = 0.05, rng
    for _ in range(rounds):
        before, process = len(bucket.markers()), start(folder, bucket, rng.randint(1, 2))
        deadline = time.monotonic() + 120
        while process.poll() is None and len(bucket.markers()) == before:
            assert time.monotonic() < deadline, "the job does not get on"
            time.sleep(rng.uniform(0.1, 0.5))  # server and proxy share this process with us
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish(folder, bucket)
    bucket.s3.faults.share = 0.0
    assert bucket.s3.faults.happened
    finish(folder, bucket)  # sweeps what a kill has left beside a marker
    assert bucket.state() == wanted
    assert len(bucket.markers()) == len(wanted[0])


def test_every_kind_of_fault_at_the_marker(tmp_path, bucket):
    folder = make_folder(tmp_path / "in", 30)
    for kind, number in (("500", 0), ("503", 1), ("lost", 2)):
        bucket.s3.faults.plan(kind, "PUT", f"done/00000{number}.json", times=2)
        bucket.s3.faults.plan(kind, "PUT", f"shard-00000{number}", times=2)
    finish(folder, bucket)
    assert len(bucket.s3.faults.happened) >= 12
    assert bucket.state() == clean(folder, tmp_path / "clean")


@pytest.mark.slow
def test_killed_between_shard_and_marker(tmp_path, bucket):
    folder = make_folder(tmp_path / "in", 30)
    finish(folder, bucket)
    wanted = bucket.state()
    # What kills leave: a shard without its marker, and one of other bytes beside a marker.
    bucket.client.delete_object(Bucket=bucket.name, Key="out/.job/done/000001.json")
    orphan = "out/shard-000000-0000000000000000.parquet"
    bucket.client.put_object(Bucket=bucket.name, Key=orphan, Body=b"PAR1")
    finish(folder, bucket)
    assert bucket.state() == wanted


@pytest.mark.slow
def test_two_jobs_at_once_make_one_set_of_bytes(tmp_path, bucket):
    folder = make_folder(tmp_path / "in", 60)
    both = [start(folder, bucket) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 1]), printed
    assert codes == [0, 0] or any("begun there at the same moment" in text for text in printed)
    finish(folder, bucket)
    assert bucket.state() == clean(folder, tmp_path / "clean")


@pytest.mark.slow
def test_parts_at_once_while_the_network_fails_and_one_is_killed(tmp_path, bucket):
    folder = make_folder(tmp_path / "in", 90)
    bucket.s3.faults.share, bucket.s3.faults.rng = 0.03, random.Random(2)
    parts = [start(folder, bucket, 1, f"part={n}/3") for n in (1, 2, 3)]
    deadline = time.monotonic() + 120
    while len(bucket.markers()) < 3:
        assert time.monotonic() < deadline, "the parts do not get on"
        time.sleep(0.05)
    os.killpg(parts[1].pid, signal.SIGKILL)
    parts[1].communicate()
    printed = [part.communicate(timeout=200)[0] for part in (parts[0], parts[2])]
    assert [parts[0].returncode, parts[2].returncode] == [0, 0], printed
    bucket.s3.faults.share = 0.0
    finish(folder, bucket)
    assert bucket.state() == clean(folder, tmp_path / "clean")


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("lost",), ("lost", "503", "500", "cut")])
def test_parts_of_which_one_never_comes_while_every_third_request_fails(
    tmp_path, bucket, monkeypatch, kinds
):
    """Plans, claims, signs of life, markers: of each the answer is lost now and then."""
    folder = make_folder(tmp_path / "in", 60)
    for name, value in bucket.s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(StoreOccupation, "beat_s", 1.0)
    monkeypatch.setattr(object_store, "PATIENCE", Patience(pauses_s=(0.05,) * 9))
    bucket.s3.faults.share, bucket.s3.faults.rng = 0.35, random.Random(len(kinds))
    monkeypatch.setattr(bucket.s3.faults, "kinds", kinds)
    left = {}

    def do(number):
        config = JobConfig(
            inputs=[str(folder)],
            output=location(bucket.output),
            shard_size=8,
            part=f"{number}/3",
            take_over_s=3.0,
        )
        left[number] = PartJob(config, FakeStep(), InlineEngine()).run().num_missing

    threads = [threading.Thread(target=do, args=(number,)) for number in (3, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bucket.s3.faults.share = 0.0
    assert left == {1: 0, 3: 0} and len(bucket.s3.faults.happened) > 50
    finish(folder, bucket)
    assert bucket.state() == clean(folder, tmp_path / "clean")


@pytest.mark.slow
def test_inputs_in_the_store_while_the_network_fails(tmp_path, bucket):
    folder = make_folder(tmp_path / "in", 40)
    address = bucket.put_folder(folder)
    bucket.s3.faults.share, bucket.s3.faults.rng = 0.08, random.Random(1)
    printed = finish(address, bucket)
    bucket.s3.faults.share = 0.0
    assert "40 inputs" in printed
    lines = [json.loads(line) for line in bucket.state()[1].splitlines()]
    bad = [f"p{n:04d}.png" for n in range(40) if n % 17 == 5]
    assert [line["id"] for line in lines] == bad
    assert {line["type"] for line in lines} == {"DecodeError"}, "no fault of the network counts"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_credentials_that_expire_end_the_job_in_one_sentence(tmp_path, bucket, method):
    folder = make_folder(tmp_path / "in", 40)
    address = bucket.put_folder(folder)
    for number in range(20, 40):
        bucket.s3.faults.plan("expired", method, f"in/p{number:04d}.png", times=99)
    printed = finish(address, bucket, code=1)
    bucket.s3.faults.planned.clear()
    assert printed.startswith("CredentialsError: s3://") and printed.count("\n") == 1
    assert "expired" in printed
    lines = [json.loads(line) for line in bucket.read("out/errors.jsonl").splitlines()]
    assert {line["type"] for line in lines} <= {"DecodeError"}, "an input that was not tried"
    assert "40 inputs" in finish(address, bucket)
    assert bucket.state()[1].count(b"DecodeError") == 3  # 5, 22 and 39


def test_no_secret_is_written_down(tmp_path, bucket):
    folder = make_folder(tmp_path / "in", 12)
    address = bucket.put_folder(folder)
    bucket.s3.faults.plan("403", "GET", "in/p0003.png", times=99)
    bucket.s3.faults.plan("503", "GET", "in/p0004.png", times=99)
    printed = finish(address, bucket)
    bucket.s3.faults.planned.clear()
    bucket.s3.faults.plan("403", "PUT", "condition", times=99)
    printed += finish(address, bucket, code=1)
    assert "no permission to write it" in printed
    held = printed.encode() + b"".join(bucket.read(key) for key in bucket.names())
    assert b"no permission to read it" in held and b"could not be reached" in held
    assert SECRET.encode() not in held
    assert KEY.encode() not in held
