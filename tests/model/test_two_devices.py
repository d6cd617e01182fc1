"""Tensor parallel on two gloo processes against one, and layers spread by `device_map`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model import DvseForCausalLM

ROOT = Path(__file__).parents[2]


def test_two_processes_as_one(make_model, kinds, tmp_path):
    directories = []
    for name, fields in kinds.items():
        directories.append(str(tmp_path / name.replace(" ", "-")))
        make_model(**fields, tie_word_embeddings=name == "gate").save_pretrained(directories[-1])
        if "n_routed_experts" in fields:
            directories.append(f"{directories[-1]}?ep")
    directories.append(str(tmp_path / "norms"))
    norms = {"use_qk_norm": True, "use_sandwich_norm": True}
    make_model(**norms).save_pretrained(directories[-1])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--standalone", str(Path(__file__).with_name("tensor_parallel_worker.py"))]
    result = subprocess.run(
        [*command, *directories],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("RESULT")]
    assert len(rows) == len(directories) == 7, result.stderr[-3000:]
    for _, error, share, told in rows:
        assert float(error) < 1e-4
        assert float(share) < 0.6
        assert told == "True"


@torch.no_grad()
def test_layers_on_several_devices(make_model, kind, ids, tmp_path):
    # A CPU and a disk stand for two cards: weights of the second half are fetched when needed.
    pytest.importorskip("accelerate")
    model = make_model(**kind)
    model.save_pretrained(tmp_path / "model")
    device_map = {
        "model.embed_tokens": "cpu",
        "model.rotary_emb": "cpu",
        "model.layers.0": "cpu",
        "model.layers.1": "disk",
        "model.norm": "cpu",
        "lm_head": "disk",
    }
    split = DvseForCausalLM.from_pretrained(
        tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "offload"
    )
    assert next(split.model.layers[1].parameters()).is_meta
    assert torch.allclose(split(ids).logits, model(ids).logits, atol=1e-5)
