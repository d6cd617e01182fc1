"""`dvse train text`."""

import argparse
from pathlib import Path

from pipelines.commands.fields import add_flags, from_flags
from pipelines.training.text.settings import TextRecipe

HELP = "Train a SentencePiece model that loses no character, and write it as a part."
EXAMPLES = """\
  dvse train text --data books/ wiki.txt.gz --vocab-size 8000 --output runs/text
  dvse train text --data 'hf:wikimedia/wikipedia?name=20231101.de&streaming=true' \\
      --model-type bpe --output runs/de"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_flags(parser, TextRecipe)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Train, print the figures."""
    from pipelines.training.text.recipe import train_text

    recipe = from_flags(TextRecipe, args)
    part = train_text(recipe, args.output)
    print(f"{recipe.vocab_size} pieces in {args.output}; on held-out lines:")
    for name, figures in part.metrics["files"].items():
        print(
            f"  {name}: {figures['bytes_per_token']:.2f} bytes per token, "
            f"{figures['round_trip_failures']} round-trip failures"
        )
    return 0
