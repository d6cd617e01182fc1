"""`dvse model-card`."""

import argparse
import sys

from dvse.errors import ConfigError
from model.card import CardSettings

HELP = "Say what a decoder weighs, what it computes and where it fits, without building it."
EXAMPLES = """\
  dvse model-card 9b
  dvse model-card my-model --context 32768
  dvse model-card 9b-moe --card-gib 80"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "model", metavar="PRESET|DIR", help="tiny, 9b, 9b-moe, or a directory with a config.json"
    )
    for name, kind, about in (
        ("context", int, "tokens in the cache for FLOPs"),
        ("saving", float, "share of FLOPs gates skip"),
        ("card_gib", float, "memory of a graphics card"),
    ):
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            default=getattr(CardSettings, name),
            metavar="N" if kind is int else "F",
            help=f"{about} (default: %(default)s)",
        )


def run(args: argparse.Namespace) -> int:
    """Print the card."""
    from model.card import model_card
    from model.errors import ModelConfigError, ModelError

    try:
        settings = CardSettings(context=args.context, saving=args.saving, card_gib=args.card_gib)
    except ModelConfigError as error:
        raise ConfigError(str(error)) from None
    try:
        print(model_card(args.model, settings))
    except ModelError as error:
        print(f"dvse model-card: {error}", file=sys.stderr)
        return 1
    return 0
