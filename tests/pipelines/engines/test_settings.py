"""Where a job is to run: what does not go together is refused, what is missing is named."""

import importlib.util

import pytest

from dvse.errors import ConfigError
from pipelines.cli import main
from pipelines.engines.ray_engine import RayEngine
from pipelines.engines.settings import Placement


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cuda:1"}, "expected cpu or cuda, received 'cuda:1'"),
        ({"device": "cuda:0,cuda:1"}, "Ray gives each actor a GPU"),
        ({"num_workers": 0}, "expected at least 1, received 0"),
        ({"engine_name": "local", "ray_address": "auto"}, "expected --engine ray beside it"),
    ],
)
def test_what_does_not_go_with_ray_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Placement(**{"engine_name": "ray", **options})


def test_the_engine_of_a_cluster_is_made_without_ray():
    placement = Placement(engine_name="ray", ray_address="head:6379", num_workers=3)
    assert isinstance(placement.engine(max_chunks=7), RayEngine)


def test_a_large_token_budget_finds_enough_small_pictures_in_a_window():
    # 65,536 tokens are 1,024 pictures of 64; a batch that is half full would cost as much.
    for options, wanted in (
        ({}, 256),
        ({"batch_tokens": 512}, 256),
        ({"batch_tokens": 65_536}, 1024),
    ):
        engine = Placement(num_workers=0, **options).engine(max_chunks=256)
        assert vars(engine)["_max_chunks"] == wanted


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_the_extra_is_named(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("hello")
    words = ["tokenize", str(tmp_path / "a.txt"), "--output", str(tmp_path / "out")]
    assert main([*words, "--engine", "ray"]) == 1
    assert "dvse[ray]" in capsys.readouterr().err
