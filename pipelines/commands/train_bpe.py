"""`dvse train bpe`."""

import argparse
from pathlib import Path

from pipelines.commands.fields import add_flags, from_flags
from pipelines.training.audio.run_settings import RunRecipe

HELP = """\
Learn which runs of speech units are frequent (byte pair encoding), from token shards.

dvse build-bundle --bpe gives each of them an id behind all others: recordings become shorter,
nothing is lost, and no old id changes its meaning."""
EXAMPLES = """\
  dvse train bpe --tokens tokens --bundle my-bundle --num-runs 1024 --output runs/bpe
  # then: dvse build-bundle --base my-bundle --bpe runs/bpe --output my-bundle-bpe"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_flags(parser, RunRecipe)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Learn, print the figures."""
    from pipelines.training.audio.run_training import train_runs

    learnt = train_runs(from_flags(RunRecipe, args), args.output)
    figures = learnt.metrics
    print(f"{len(learnt.runs):,} runs in {args.output}; on held-out recordings:")
    print(
        f"  {figures['codes_per_id']:.2f} codes an id, {figures['in_use']:,} runs in use, "
        f"{figures['round_trip_failures']} round-trip failures"
    )
    return 0
