"""`dvse train decoder`: token shards to a model directory."""

import argparse
import os
from pathlib import Path
from typing import Any

from pipelines.commands.answers import place

HELP = """Train a decoder on token shards and write a model directory: the decoder with its bundle.

Shards come from dvse tokenize; conversations (JSONL with messages) teach answers, other rows are
learned whole. The recipe is a TOML file with the shape and the loop; [model] checkpoint = "DIR"
begins at a published GLM-4, [adapters] trains LoRA beside it. A run that was stopped goes on with
--resume and ends with the same weights. Several GPUs: torchrun --nproc-per-node N -m pipelines.cli
train decoder ..."""
EXAMPLES = """\
  dvse train decoder --data tokens --bundle tiny --output my-model
  dvse train decoder --data tokens --recipe recipe.toml --output my-model --resume"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--data", type=place, required=True, metavar="DIR", help="token shards")
    parser.add_argument("--bundle", default="tiny", help="that the shards were made with")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="TOML (default: a small one)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument(
        "--threads", type=int, default=2, help="on a CPU; part of what makes a run repeatable"
    )


def run(args: argparse.Namespace) -> int:
    """Train and write the model directory; return the exit code."""
    import torch

    import dvse
    from dvse.storage.finding import find_bundle
    from model import ModelError
    from pipelines.answering.model_directory import load_model, save_model
    from pipelines.training.decoder.adapting import let_learn, with_adapters
    from pipelines.training.decoder.loop import train_decoder
    from pipelines.training.decoder.recipe import DecoderRecipe, read_recipe
    from pipelines.training.decoder.start import new_decoder, new_ids

    recipe = read_recipe(args.recipe) if args.recipe else DecoderRecipe()
    folder = find_bundle(args.bundle)
    tokenizer = dvse.load(folder)
    torch.set_num_threads(args.threads)
    try:
        decoder = new_decoder(recipe, tokenizer)
    except ModelError as error:
        from dvse.errors import ConfigError

        raise ConfigError(f"the recipe's model: {error}") from error
    run_folder = args.output.with_name(args.output.name + ".run")
    added = new_ids(tokenizer.vocabulary)
    _say_what_it_holds(decoder.config, recipe, added)
    learner: Any = decoder
    let_learn(decoder, recipe.training, added)
    if recipe.adapters is not None:
        base = args.output.with_name(args.output.name + ".base")
        if not (args.resume and base.is_dir()):
            save_model(decoder, folder, base)
        print(f"the decoder that the adapters belong to: {base}")
        learner = with_adapters(load_model(base).model, recipe.adapters, added)
    log = train_decoder(learner, tokenizer, args.data, recipe, run_folder, resume=args.resume)
    save_model(learner, folder, args.output)
    print(f"{args.output}: trained for {recipe.training.max_steps} steps, {log[-1]}")
    print(f"log, samples and checkpoints: {run_folder}")
    return 0


def _say_what_it_holds(config: Any, recipe: Any, added: range) -> None:
    """Print the memory of a step, once for all processes."""
    from pipelines.runs.processes import card_bytes
    from pipelines.training.decoder.memory import GIB, training_memory

    if int(os.environ.get("RANK", "0")) == 0:
        print(training_memory(config, recipe, added).table(card_gib=card_bytes() / GIB))
