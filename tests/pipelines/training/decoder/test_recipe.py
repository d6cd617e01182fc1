"""Recipes: what is read, and what is refused."""

from pathlib import Path

import pytest

from dvse.errors import ConfigError
from pipelines.training.decoder import recipe as recipe_module
from pipelines.training.decoder.recipe import AdapterSettings, DecoderTraining, read_recipe


def write(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_a_recipe_is_read(tmp_path):
    recipe = read_recipe(
        write(tmp_path, '[model]\npreset = "9b"\n[training]\nmax_steps = 7\nlearning_rate = 1\n')
    )
    assert recipe.model == {"preset": "9b"}
    assert recipe.training == DecoderTraining(max_steps=7, learning_rate=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[training]\nsteps = 7\n", "training.steps"),
        ("[decoder]\n", "decoder"),
        ("[training]\nmax_steps = 'many'\n", "max_steps as int"),
        ("[training]\nmax_steps = 0\n", "above zero"),
        ("[training]\nprecision = 'int8'\n", "precision"),
        ("[training\n", "TOML"),
    ],
)
def test_what_is_refused(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        read_recipe(write(tmp_path, text))


def test_no_such_file(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        read_recipe(tmp_path / "nowhere.toml")


def test_the_recipe_of_glm_4():
    folder = Path(recipe_module.__file__).with_name("recipes")
    recipe = read_recipe(folder / "glm-4-9b-lora.toml")
    assert recipe.model["checkpoint"] == "zai-org/glm-4-9b-chat-hf"
    assert recipe.adapters == AdapterSettings(bits=4) and recipe.training.activation_checkpointing


@pytest.mark.parametrize(
    "text",
    [
        '[model]\npreset = "tiny"\ncheckpoint = "x"',
        '[training]\nlearns = "new rows"\n[adapters]\nrank = 2',
        '[training]\nlearns = "some"',
        "[adapters]\nrank = 0",
        "[adapters]\nrnak = 4",
    ],
)
def test_recipes_that_say_two_things_at_once(tmp_path, text):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"expected|unknown"):
        read_recipe(tmp_path / "r.toml")
