"""The engine on a real Ray cluster of several nodes: the bytes of one process, whatever dies.

Ray is no part of the test extra; where it is not installed all of this is skipped.
"""

import os
import threading
import time

import pytest
import ray_nodes
from fake_step import FakeStep

from dvse.errors import BundleNotFoundError, JobError
from pipelines.engines.inline import InlineEngine
from pipelines.engines.ray_engine import RayEngine
from pipelines.job.config import JobConfig
from pipelines.job.job import Job

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::")]


@pytest.fixture(scope="module")
def cluster():
    with ray_nodes.running() as made:
        yield made


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(240):
        data = b"SLEEP 0.03 %d" % number if number % 3 else b"picture %d" % number
        (folder / f"p{number:04d}.png").write_bytes(b"BAD" if number % 17 == 5 else data)
    return folder


def state(output):
    shards = {p.name: p.read_bytes() for p in sorted(output.glob("*.parquet"))}
    return shards, (output / "errors.jsonl").read_bytes()


def run(folder, output, engine, *, step=None):
    config = JobConfig(inputs=[str(folder)], output=output, shard_size=16)
    summary = Job(config, step or FakeStep(), engine).run()
    return state(output), summary


@pytest.fixture
def wanted(pictures, tmp_path):
    return run(pictures, tmp_path / "one", InlineEngine())[0]


def engine(cluster, **options):
    return RayEngine(address=cluster.address, **options)


def test_the_bytes_are_those_of_one_process(cluster, pictures, wanted, tmp_path):
    found, summary = run(pictures, tmp_path / "out", engine(cluster))
    assert found == wanted
    assert summary.num_inputs == 240
    assert not ray.is_initialized()  # it left the cluster, which goes on


def test_crashes_and_hangs_cost_what_they_cost_on_one_machine(cluster, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, data in enumerate([b"CRASH", b"EXIT", b"WEIRD", b"POISON", b"HANG", b"fine"] * 2):
        (folder / f"t{number:02d}.png").write_bytes(data)
    from pipelines.engines.local import LocalEngine

    local, _ = run(folder, tmp_path / "local", LocalEngine(num_workers=2, time_limit_s=1.5))
    found, _ = run(folder, tmp_path / "ray", engine(cluster, time_limit_s=1.5))
    assert found == local
    assert found[1].count(b"\n") == 10


@pytest.mark.parametrize("victim", ["actor", "node"])
def test_an_actor_or_a_node_that_dies_costs_its_records_a_second_try(
    cluster, pictures, wanted, tmp_path, victim
):
    """As soon as something is done, whatever does the work of one node is killed."""
    done = tmp_path / "out" / ".job" / "done"
    node = cluster.add_node(**cluster.node_args) if victim == "node" else None

    def strike():
        while not (done.is_dir() and any(done.iterdir())):
            time.sleep(0.01)
        if node is not None:
            cluster.remove_node(node, allow_graceful=False)
            return
        from ray.util.state import list_actors

        actors = [a for a in list_actors(cluster.address) if a.state == "ALIVE"]
        os.kill(actors[0].pid, 9)

    threading.Thread(target=strike, daemon=True).start()
    found, summary = run(pictures, tmp_path / "out", engine(cluster))
    assert found == wanted
    assert summary.num_inputs == 240


def test_what_cannot_be_opened_there_is_one_clear_error(cluster, pictures, tmp_path):
    with pytest.raises(BundleNotFoundError, match="no such bundle"):
        run(pictures, tmp_path / "out", engine(cluster), step=FakeStep(fail="no such bundle"))


def test_no_cluster_and_no_gpu_are_said_at_once(cluster, pictures, tmp_path):
    with pytest.raises(JobError, match="no node of the Ray cluster has a GPU"):
        run(pictures, tmp_path / "out", engine(cluster, device="cuda"))
    with pytest.raises(JobError, match="--ray-address"):
        run(pictures, tmp_path / "out", RayEngine(address="127.0.0.1:1"))


def test_captions_and_tokens_of_the_shipped_model_are_those_of_one_machine(cluster, tmp_path):
    """Both commands, from files to what lies in the output."""
    from pipelines.cli import main
    from pipelines.tiny.samples.making import make_samples

    make_samples(tmp_path / "in")
    same = ["--threads", "1", "--shard-size", "3", "--quiet"]
    there = ["--engine", "ray", "--ray-address", cluster.address, "--workers", "1"]
    for command, name in (("caption", "captions.jsonl"), ("tokenize", "tokens")):
        found = []
        for place, more in (("here", ["--workers", "1"]), ("there", there)):
            output = tmp_path / place / name
            output.parent.mkdir(exist_ok=True)
            words = [command, str(tmp_path / "in"), "--output", str(output)]
            assert main([*words, *same, *more]) == 0
            files = [output] if output.is_file() else sorted(output.glob("*.parquet"))
            found.append({path.name: path.read_bytes() for path in files})
        assert found[0] == found[1] and all(found[0].values())
