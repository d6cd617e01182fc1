"""`dvse plan train`."""

import argparse
from pathlib import Path

from pipelines.commands.fields import add_flags, from_flags
from pipelines.training.decoder.plan_settings import MemoryPlan

HELP = """\
Say what a step of a decoder's training holds on each card, before anything is loaded.

RECIPE is the TOML file of dvse train decoder. Weights, adapters, gradients, optimiser, activations
and logits are counted from the model that it describes; of a checkpoint only config.json is read,
and --shape stands for one that is not here. (Inputs in a folder called train: dvse plan ./train.)

Of [[stages]] it says it for each.

exit codes: 0 it fits the card, 1 failed, 2 the recipe is wrong, 3 it does not fit"""
EXAMPLES = """\
  dvse plan train recipe.toml
  dvse plan train glm-4-9b-lora.toml --shape 9b --bundle my-bundle --card-gib 24"""

EXIT_TOO_LARGE = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="TOML")
    add_flags(parser, MemoryPlan)


def run(args: argparse.Namespace) -> int:
    """Print the memory of a step."""
    from dvse.errors import ConfigError
    from dvse.storage.bundle import Bundle
    from dvse.storage.finding import find_bundle
    from model import ModelError
    from pipelines.training.decoder.adapting import check_rounding
    from pipelines.training.decoder.memory import GIB, training_memory
    from pipelines.training.decoder.recipe import read_recipe
    from pipelines.training.decoder.start import decoder_config, new_ids

    plan = from_flags(MemoryPlan, args)
    recipe = read_recipe(args.recipe)
    vocabulary = Bundle.open(find_bundle(plan.bundle)).vocabulary
    try:
        config = decoder_config(recipe, vocabulary, shape=plan.shape)
        check_rounding(config, recipe)
    except ModelError as error:
        raise ConfigError(f"{args.recipe}: {error}") from error
    stages = [
        training_memory(
            config,
            stage,
            new_ids(vocabulary),
            labelled_share=plan.labelled_share,
            num_cards=plan.cards,
        )
        for stage in recipe.in_stages()
    ]
    for memory in stages:
        print(memory.table(card_gib=plan.card_gib))
    peak = max(memory.peak for memory in stages)
    return 0 if peak <= plan.card_gib * GIB else EXIT_TOO_LARGE
