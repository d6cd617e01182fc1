"""Room for weights and cache: worked out by hand, refused before weights are read."""

import shutil
import subprocess
import sys

import pytest

from dvse.errors import ConfigError
from dvse.storage.finding import SHIPPED
from pipelines.cli import main
from pipelines.server import memory
from pipelines.server.loading import load_served, memory_of
from pipelines.server.memory import cache_bytes, free_bytes, weight_bytes_of
from pipelines.server.settings import BatchingLimits, LoadingConfig, ServerSettings

GIB = 1 << 30


def config(model="tiny", **fields):
    limits = BatchingLimits(**{"max_concurrency": 2, **fields})
    return LoadingConfig(model=str(model), limits=limits)


def test_what_is_left_is_the_caches(monkeypatch):
    weights = weight_bytes_of(config())
    stored = sum(path.stat().st_size for path in (SHIPPED / "tiny").rglob("*.safetensors"))
    assert weights == stored > 5.28e6 * 4  # parameters in single precision, encoders beside them
    monkeypatch.setattr(memory, "free_bytes", lambda *_, **__: (2 * GIB, GIB // 2))
    assert cache_bytes(config(cache_gib="auto")) == 2 * GIB - GIB // 2 - weights
    assert cache_bytes(config(cache_gib=1.25)) == 5 * GIB // 4
    assert cache_bytes(config(cache_gib="0.25")) == GIB // 4
    split = LoadingConfig(tensor_parallel=2, limits=BatchingLimits(cache_gib="auto"))
    assert cache_bytes(split) == 2 * GIB - GIB // 2 - weights // 2


def test_an_automatic_cache_holds_what_answers_can_ask_for():
    served = load_served(config(cache_gib="auto"))
    sizes = served.batcher._config
    assert sizes.cache_tokens == 2 * 2048  # two answers of the whole context


def test_by_default_a_model_has_what_is_left_and_several_models_a_gib_each():
    assert ServerSettings().limits.cache_gib == "auto"
    several = ServerSettings(other_models=("other",))
    assert several.limits.cache_gib == 1
    assert [model.limits.cache_gib for model in several.others] == [1]
    assert memory_of(several.loading) == weight_bytes_of(several.loading) + GIB
    limits = BatchingLimits(cache_gib=0.5)
    several = ServerSettings(loading=LoadingConfig(limits=limits), other_models=("other",))
    assert several.others[0].limits.cache_gib == 0.5


def test_too_little_is_refused_before_weights_are_read(random_model, tmp_path, monkeypatch):
    folder = shutil.copytree(random_model, tmp_path / "mine")
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))  # it would be no safetensors file
    monkeypatch.setattr(memory, "free_bytes", lambda *_, **__: (GIB, 0))
    with pytest.raises(ConfigError, match=r"and 3\.00 GiB for the cache a process, 1\.00 GiB less"):
        load_served(config(folder, cache_gib=3))
    monkeypatch.setattr(memory, "free_bytes", lambda *_, **__: (1000, 0))
    with pytest.raises(ConfigError, match=r"for weights a process, 0\.00 GiB less"):
        load_served(config(folder, cache_gib="auto"))


def test_no_card(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="device cuda: torch finds no CUDA device here"):
        load_served(LoadingConfig(device="cuda"))


def test_this_machine():
    free, reserve = free_bytes("cpu")
    assert 0 < reserve < free
    assert free_bytes("cpu", num_processes=2)[0] == pytest.approx(free / 2, rel=0.2)


@pytest.mark.parametrize("given", ["0", "-1", "much", "inf"])
def test_a_size_that_is_none(given, capsys):
    assert main(["serve", "--cache-gib", given]) == 2
    assert f"above 0 or auto, received {given}" in capsys.readouterr().err


def test_what_loading_refuses_ends_as_any_wrong_option():
    command = [sys.executable, "-m", "pipelines.cli", "serve", "--port", "0", "--cache-gib", "1e-9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("dvse serve: a cache of 9.31e-10 GiB holds 0")
