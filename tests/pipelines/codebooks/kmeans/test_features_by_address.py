"""`dvse train audio` under torchrun on features in S3: the codebook of one process and a disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from s3_server import make_bucket, running
from small_hubert import save_small_hubert, write_recordings

from dvse.storage.part import Part
from dvse.storage.weights import read_tensors

ROOT = Path(__file__).parents[4]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def train(tmp_path, name, *flags, num_processes=1, **environment):
    """Cluster twelve units; two processes are started as on two nodes of one processor each."""
    launch = ["-m"]
    if num_processes > 1:
        launch = ["-m", "torch.distributed.run", "--standalone", "-m"]
        launch[2:2] = ["--nproc-per-node", str(num_processes)]
    words = [
        "train",
        "audio",
        "--data",
        str(tmp_path / "in"),
        "--encoder",
        str(tmp_path / "hubert"),
    ]
    words += ["--layer", "1", "--num-codes", "12", "--threads", "1"]
    done = subprocess.run(
        [
            sys.executable,
            *launch,
            "pipelines.cli",
            *words,
            "--output",
            str(tmp_path / name),
            *flags,
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return Part.load(tmp_path / name, modality="audio")


def test_two_processes_read_their_halves_from_a_store(tmp_path):
    save_small_hubert(tmp_path / "hubert")
    write_recordings(tmp_path / "in")
    train(tmp_path, "kept", "--keep-features")
    kept = tmp_path / "kept" / "features"
    with running() as s3:
        client = make_bucket(s3, "features")
        for path in kept.iterdir():
            client.upload_file(str(path), "features", f"hubert/{path.name}")
        cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        address = ["--features", "s3://features/hubert"]
        two = train(tmp_path, "two", *address, num_processes=2, **s3.environment, **cache)
    alone = train(tmp_path, "alone", "--features", str(kept))
    assert two.metrics["clustered_frames"] == alone.metrics["clustered_frames"] > 100
    found, wanted = (
        read_tensors(tmp_path / name / "codebook.safetensors") for name in ("two", "alone")
    )
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name].shape == wanted[name].shape
        assert (found[name] - wanted[name]).abs().max() < 1e-4, name
