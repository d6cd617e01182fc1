"""Parts of stored tensors, against safetensors' own slices; what a rank holds while it loads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from model import DvseConfig, DvseForCausalLM, share_reading
from model.errors import CheckpointError
from model.share_reading import stored_tensors

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(0)
    tensors = {
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "norm": torch.randn(7),
        "matrix": torch.randn(37, 24).bfloat16(),
        "experts": torch.randn(3, 10, 6),
        "bytes": torch.arange(30, dtype=torch.uint8).view(5, 6),
        "truth": torch.tensor([True, False, True]),
        "eight": torch.randn(4, 4).to(torch.float8_e4m3fn),
    }
    path = tmp_path_factory.mktemp("stored") / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    return path


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_part_is_safetensors_own(file, data):
    with safe_open(file, framework="pt") as theirs, stored_tensors([file]) as ours:
        name = data.draw(st.sampled_from(sorted(ours)))
        slices = []
        for size in ours[name].get_shape():
            start = data.draw(st.integers(0, size))
            slices.append(slice(start, data.draw(st.integers(start, size))))
        slices = slices[: data.draw(st.integers(0, len(slices)))]
        expected = theirs.get_tensor(name)[tuple(slices)]
        # Buffers of a row and of more; matrices read as a whole and index by index.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(share_reading, "_BUFFER", data.draw(st.sampled_from([1, 100, 1 << 20])))
            patch.setattr(share_reading, "_PIECE", data.draw(st.sampled_from([16, 64, 1 << 20])))
            got = ours[name][tuple(slices)].to()
        assert got.dtype == expected.dtype and got.shape == expected.shape
        assert torch.equal(got.float(), expected.float())
        assert ours[name].get_dtype() == theirs.get_slice(name).get_dtype()
        assert ours[name].get_shape() == theirs.get_slice(name).get_shape()


def test_parts_side_by_side_are_one_read(file):
    with safe_open(file, framework="pt") as theirs, stored_tensors([file]) as ours:
        for name, dim in (("matrix", 0), ("experts", 1)):
            whole, stored = theirs.get_tensor(name), ours[name]
            index = (slice(None),) * dim
            cuts = [(*index, slice(0, 2)), (*index, slice(5, 6))]
            expected = torch.cat([whole[cut] for cut in cuts], dim)
            got = torch.cat([stored[cut] for cut in cuts], dim=dim).to(dtype=torch.float64)
            assert torch.equal(got, expected.double())
        assert stored[...].to().shape == (3, 10, 6)
        with pytest.raises(NotImplementedError, match="read them first"):
            torch.stack([stored[...], stored[...]])


def test_a_file_that_is_cut_off_is_named(file, tmp_path):
    short = tmp_path / "short.safetensors"
    short.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"short\.safetensors is cut off"):
        stored_tensors([short]).__enter__()
    with stored_tensors([file]) as ours:
        stored = ours["experts"]
        stored._start += file.stat().st_size  # as if it had been cut while it was open
        with pytest.raises(CheckpointError, match=r"model\.safetensors is cut off"):
            stored[...].to()


@pytest.mark.slow
def test_a_rank_holds_little_more_than_its_part(tmp_path):
    fields = {"hidden_size": 1024, "intermediate_size": 8192, "num_hidden_layers": 12}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 64}
    config = DvseConfig(vocab_size=16384, pad_token_id=0, eos_token_id=1, **fields, **heads)
    model = DvseForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "large", max_shard_size="200MB")
    assert len(list((tmp_path / "large").glob("*.safetensors"))) > 2
    del model
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    result = subprocess.run(
        [*command, str(Path(__file__).with_name("peak_memory_worker.py")), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    rows = [line.split()[1:] for line in result.stdout.splitlines() if line.startswith("RESULT")]
    assert len(rows) == 2, result.stderr[-3000:]
    for part, growth, is_same in rows:
        assert int(part) > 300 << 20
        assert int(growth) <= 1.3 * int(part)
        assert is_same == "True"
