"""`dvse train decoder`: token shards to a model directory."""

import argparse
import os
from pathlib import Path

from pipelines.commands.answers import place

HELP = """Train a decoder on token shards and write a model directory: the decoder with its bundle.

Shards come from dvse tokenize; conversations (JSONL with messages) teach answers, other rows are
learned whole. The recipe is a TOML file with the shape and the loop; [model] checkpoint = "DIR"
begins at a published GLM, [adapters] trains LoRA beside it, [[stages]] learn one after the other:
new rows, adapters, all. A run that was stopped goes on with
--resume and ends with the same weights. --processes N: one a GPU; started by torchrun, which adds
a traceback of its own where a signal stops it, each process joins the others, too."""
EXAMPLES = """\
  dvse train decoder --data tokens --bundle tiny --output my-model
  dvse train decoder --data tokens --recipe recipe.toml --output my-model --resume
  dvse train decoder --data tokens --recipe recipe.toml --output my-model --processes 2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--data", type=place, required=True, metavar="DIR", help="token shards")
    parser.add_argument("--bundle", default="tiny", help="that the shards were made with")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="TOML (default: a small one)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="on this machine, each with its share of every batch (default: %(default)s)",
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="on a CPU; part of what makes a run repeatable"
    )


def run(args: argparse.Namespace) -> int:
    """Train and write the model directory; return the exit code."""
    import torch

    import dvse
    from dvse.errors import ConfigError
    from dvse.storage.finding import find_bundle
    from pipelines.runs.process_group import become_group
    from pipelines.runs.processes import started_processes
    from pipelines.training.decoder.recipe import DecoderRecipe, read_recipe
    from pipelines.training.decoder.staged import DecoderRun

    recipe = read_recipe(args.recipe) if args.recipe else DecoderRecipe()
    folder = find_bundle(args.bundle)
    torch.set_num_threads(args.threads)
    run = DecoderRun(
        recipe=recipe,
        tokenizer=dvse.load(folder),
        bundle=folder,
        shards=args.data,
        output=args.output,
        resume=args.resume,
    )
    if args.processes < 1:
        raise ConfigError(f"--processes: expected at least 1, received {args.processes}")
    if args.processes > 1 and "RANK" not in os.environ:
        run.check(args.processes)  # once, before any of them is started
        become_group(args.processes, ["train", "decoder", *args.words])
    with started_processes("cuda" if torch.cuda.is_available() else "cpu") as is_first:
        run.train()
        if is_first:
            print(f"log, samples and checkpoints: {run.folder}")
    return 0
