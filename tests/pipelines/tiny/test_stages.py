"""The stages as they stand, and what each begins with."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dvse.errors import ConfigError
from model.errors import TensorShapeError
from pipelines.tiny.__main__ import in_part
from pipelines.tiny.averaging import average
from pipelines.tiny.conversations.odd_texts import load_odd_texts
from pipelines.tiny.conversations.talk import talk_turns
from pipelines.tiny.staged_training import recipe_of, start_of
from pipelines.tiny.stages import SHIPPED, STAGES


def write(folder, **tensors):
    folder.mkdir(parents=True)
    weights = {name: torch.tensor(values) for name, values in tensors.items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"from": folder.name}))
    return folder


def test_a_stage_begins_with_earlier_ones():
    earlier = set()
    for stage in STAGES:
        assert set(stage.start) <= earlier
        earlier.add(stage.name)
    assert len(earlier) == len(STAGES) and not STAGES[0].start
    assert set(SHIPPED) <= earlier


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_its_talk_can_be_drawn(stage, tmp_path):
    assert sum(stage.talk.values()) == pytest.approx(1)
    odd = load_odd_texts(prose=tmp_path)
    turns = talk_turns(odd, np.random.default_rng(0), num_parameters=1, shares=stage.talk)
    assert all(next(turns).answer for _ in range(100))


def test_its_recipe_is_the_shipped_one_with_its_own_settings():
    recipe = recipe_of(STAGES[-1])
    assert recipe.model == {"preset": "tiny"} and recipe.training.batch_size == 8
    assert recipe.training.max_steps == STAGES[-1].num_steps
    assert recipe.training.learning_rate == STAGES[-1].learning_rate
    assert recipe.training.precision == STAGES[-1].precision


def test_the_mean_keeps_what_the_first_has_alone(tmp_path):
    one = write(tmp_path / "one", a=[1.0, 2.0], head=[7.0])
    other = write(tmp_path / "other", a=[3.0, -2.0])
    (one / "optimizer.pt").write_bytes(b"x")
    average([one, other], tmp_path / "mean")
    found = load_file(tmp_path / "mean" / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "a": [2.0, 0.0],
        "head": [7.0],
    }
    assert json.loads((tmp_path / "mean" / "config.json").read_text()) == {"from": "one"}
    assert not (tmp_path / "mean" / "optimizer.pt").exists()


def test_decoders_of_other_shapes_have_no_mean(tmp_path):
    one = write(tmp_path / "one", a=[1.0, 2.0])
    for name, tensors in {"wide": {"a": [1.0]}, "more": {"a": [1.0, 2.0], "b": [1.0]}}.items():
        with pytest.raises(TensorShapeError, match=name):
            average([one, write(tmp_path / name, **tensors)], tmp_path / "mean")


def test_a_stage_goes_on_from_the_checkpoint_of_the_last(tmp_path):
    first, second, *_ = STAGES
    mixed = next(stage for stage in STAGES if len(stage.start) > 1)
    assert start_of(first, tmp_path) is None
    with pytest.raises(ConfigError, match="expected a checkpoint"):
        start_of(second, tmp_path)
    runs = tmp_path / first.name / "model.run" / "checkpoints"
    for steps in (9, 10):
        write(runs / f"checkpoint-{steps}", a=[0.0])
    assert start_of(second, tmp_path) == runs / "checkpoint-10"
    assert mixed.start == ("names", "talks")
    write(tmp_path / "names" / "model", a=[2.0])
    write(tmp_path / "talks" / "model.run" / "checkpoints" / "checkpoint-5", a=[4.0], head=[1.0])
    found = load_file(start_of(mixed, tmp_path) / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [3.0], "head": [1.0]}


def test_a_trial_takes_a_share_of_all():
    part = in_part(STAGES[0], 0.001)
    assert part.counts.pictures == 45 and part.num_steps == 12
    assert in_part(STAGES[2], 0.001).num_steps == 1
