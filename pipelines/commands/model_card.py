"""`dvse model-card`."""

import argparse
import sys

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
    parser.add_argument(
        "--context", type=int, default=4096, help="tokens in the cache for FLOPs (default 4096)"
    )
    parser.add_argument(
        "--saving", type=float, default=0.18, help="share of FLOPs gates skip (default 0.18)"
    )
    parser.add_argument(
        "--card-gib", type=float, default=24.0, help="memory of a graphics card (default 24)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the card."""
    from model.card import CardSettings, model_card
    from model.errors import ModelError

    try:
        settings = CardSettings(context=args.context, saving=args.saving, card_gib=args.card_gib)
        print(model_card(args.model, settings))
    except ModelError as error:
        print(f"dvse model-card: {error}", file=sys.stderr)
        return 1
    return 0
