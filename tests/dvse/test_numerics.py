"""The numerics profile: what it records, what it pins, what it puts back."""

import json
from dataclasses import replace

import pytest
import torch

from dvse.errors import ConfigError
from dvse.numerics import NumericsProfile


def settings() -> tuple:
    return (
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
    )


def test_the_profile_of_this_machine():
    profile = NumericsProfile.current(threads=3)
    assert (profile.device, profile.precision, profile.threads) == ("cpu", "float32", 3)
    assert profile.versions["torch"] == torch.__version__.partition("+")[0] or (
        profile.versions["torch"] == torch.__version__
    )
    assert NumericsProfile.current().threads >= 1


def test_json_round_trip():
    profile = NumericsProfile.current(threads=2)
    again = NumericsProfile.from_dict(json.loads(json.dumps(profile.to_dict())))
    assert again == profile
    assert again.differences(profile) == []


def test_a_profile_of_before_is_read():
    profile = NumericsProfile.current(threads=2)
    document = profile.to_dict()
    document["dtype"] = document.pop("precision")
    assert NumericsProfile.from_dict(document) == profile


@pytest.mark.parametrize("document", [{}, {"device": "cpu"}, {"surprise": 1}])
def test_other_documents_are_refused(document):
    with pytest.raises(ConfigError, match="not a numerics profile"):
        NumericsProfile.from_dict(document)


def test_differences_name_each_field_and_library():
    here = NumericsProfile.current(threads=1)
    there = replace(here, device="cuda", processor="H200", versions=here.versions | {"torch": "9"})
    there = replace(there, versions={k: v for k, v in there.versions.items() if k != "timm"})
    assert here.differences(there) == [
        "device: cpu here, cuda there",
        f"processor: {here.processor} here, H200 there",
        f"timm: {here.versions['timm']} here, missing there",
        f"torch: {here.versions['torch']} here, 9 there",
    ]


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_than_one_thread_is_refused(threads):
    with pytest.raises(ConfigError, match="at least 1 thread"):
        NumericsProfile.current(threads=threads)


@pytest.mark.parametrize("device", ["tpu", "", "cuda:x", "cuda:-1", "cpu:1", "cuda:99"])
def test_other_devices_are_refused(device):
    with pytest.raises(ConfigError, match="device"):
        NumericsProfile.current(device=device)


def test_pinned_sets_everything_and_puts_it_back():
    threads = torch.get_num_threads()
    profile = NumericsProfile.current(threads=threads + 1)
    before = settings()
    with profile.pinned():
        assert settings() == (threads + 1, "highest", False, False, True, True, False)
    assert settings() == before


def test_what_the_caller_has_set_does_not_reach_the_encoder():
    profile = NumericsProfile.current(threads=1)
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    with profile.pinned():
        expected = x @ x
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert (x @ x).dtype == torch.bfloat16
            with profile.pinned():
                assert torch.equal(x @ x, expected)
            assert (x @ x).dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_settings_come_back_after_an_error():
    before = settings()
    with pytest.raises(RuntimeError), NumericsProfile.current(threads=1).pinned():
        raise RuntimeError
    assert settings() == before


@pytest.mark.gpu
def test_a_gpu_has_a_name_and_full_precision():
    profile = NumericsProfile.current(device="cuda", threads=1)
    assert profile.device == "cuda"
    assert profile.processor == torch.cuda.get_device_name()
    x = torch.randn(512, 512, device="cuda")
    with profile.pinned():
        exact = (x.double() @ x.double()).float()
        assert (x @ x - exact).abs().max() < 1e-3
