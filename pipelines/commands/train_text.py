"""`dvse train text`."""

import argparse
from pathlib import Path

HELP = "Train a SentencePiece model that loses no character, and write it as a part."
EXAMPLES = """\
  dvse train text --data books/ wiki.txt.gz --vocab-size 8000 --output runs/text
  dvse train text --data 'hf:wikimedia/wikipedia?name=20231101.de&streaming=true' \\
      --model-type bpe --output runs/de"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="PATH",
        help="files or folders (.txt, .md, .gz, .parquet with a text column), or "
        "hf:NAME?split=train for all that datasets reads; streamed",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--vocab-size",
        type=int,
        default=8000,
        metavar="N",
        help="pieces, 256 for single bytes included: no character is unknown (default %(default)s)",
    )
    parser.add_argument("--model-type", choices=["unigram", "bpe"], default="unigram")
    parser.add_argument(
        "--character-coverage",
        type=float,
        default=0.9995,
        metavar="F",
        help="share of the text whose characters get a piece of their own",
    )


def run(args: argparse.Namespace) -> int:
    """Train, print the figures."""
    from pipelines.training.text.recipe import train_text

    part = train_text(
        args.data,
        args.output,
        vocab_size=args.vocab_size,
        model_type=args.model_type,
        character_coverage=args.character_coverage,
    )
    print(f"{args.vocab_size} pieces in {args.output}; on held-out lines:")
    for name, figures in part.metrics["files"].items():
        print(
            f"  {name}: {figures['bytes_per_token']:.2f} bytes per token, "
            f"{figures['round_trip_failures']} round-trip failures"
        )
    return 0
