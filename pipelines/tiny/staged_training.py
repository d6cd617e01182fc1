"""Runs a stage of the shipped decoder's training: conversations, tokens, the training itself.

What is done is left alone; tokenizing and training go on where they stopped.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint

from dvse.errors import ConfigError, TrainingError
from pipelines.cli import main as dvse
from pipelines.tiny.averaging import average
from pipelines.tiny.conversations.writing import (
    TRAINING,
    Counts,
    Material,
    write_conversations,
)
from pipelines.tiny.guided_training import RECIPE, train_guided
from pipelines.tiny.stages import Stage
from pipelines.training.decoder.recipe import DecoderRecipe, read_recipe

CHATS, TOKENS, MODEL = "chats", "tokens", "model"
"""Folders of a stage."""


def learn(stage: Stage, data: Path, bundle: str, output: Path) -> Path:
    """Train a stage in `output / stage.name` and return its model directory.

    Args:
        stage: what is done.
        data: the folder with pictures and recordings.
        bundle: a shipped name or a folder.
        output: where the stages before it lie.

    Raises:
        TrainingError: the data cannot be read, or the training fails.
        ConfigError: a stage that it begins with is not there.
    """
    folder = output / stage.name
    model = folder / MODEL
    if not (model / "config.json").is_file():
        tokens = tokenized(
            folder, data, bundle, counts=stage.counts, seed=stage.seed, talk=stage.talk
        )
        shown = folder / CHATS / "shown.jsonl"
        start = start_of(stage, output)
        train_guided(tokens, shown, bundle, recipe_of(stage), model, start=start)
    return model


def tokenized(
    folder: Path,
    data: Path,
    bundle: str,
    *,
    counts: Counts,
    seed: int,
    talk: Mapping[str, float],
    material: Material = TRAINING,
) -> Path:
    """Write conversations and their tokens into `folder`; return the tokens' folder.

    Raises:
        TrainingError: the data cannot be read, or some of it not be tokenized.
    """
    tokens, path = folder / TOKENS, folder / CHATS / "conversations.jsonl"
    if not path.is_file():
        write_conversations(
            data, folder / CHATS, counts=counts, material=material, seed=seed, talk=talk
        )
    words = ["tokenize", str(path), "--bundle", bundle, "--output", str(tokens)]
    print("dvse " + " ".join(words), flush=True)
    if code := dvse(words):
        raise TrainingError(f"{path}: expected to be tokenized, the command ended with {code}")
    return tokens


def recipe_of(stage: Stage) -> DecoderRecipe:
    """Return the shipped recipe with the stage's own settings."""
    recipe = read_recipe(RECIPE)
    return replace(
        recipe,
        training=replace(
            recipe.training,
            max_steps=stage.num_steps,
            learning_rate=stage.learning_rate,
            precision=stage.precision,
            seed=stage.seed,
        ),
    )


def start_of(stage: Stage, output: Path) -> Path | None:
    """Return the weights that a stage begins with, `None` for random ones.

    They are a checkpoint of the last stage named, which has what its guides have learnt, too, or
    its mean with the models of the others.

    Raises:
        ConfigError: a stage is not there.
    """
    if not stage.start:
        return None
    *others, last = stage.start
    runs = (output / last / MODEL).with_name(MODEL + ".run")
    checkpoints = runs / "checkpoints"
    checkpoint = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    if checkpoint is None:
        raise ConfigError(f"{checkpoints}: expected a checkpoint, {stage.name} begins with it")
    if not others:
        return Path(checkpoint)
    models = [Path(checkpoint), *(output / name / MODEL for name in others)]
    return average(models, output / stage.name / "start")
