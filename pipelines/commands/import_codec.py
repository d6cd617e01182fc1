"""`dvse import codec`: a published neural codec in, an audio part out."""

import argparse
from pathlib import Path

HELP = """Make an audio part of a published neural codec: codes of several levels, and a way back.

Mimi, DAC and EnCodec, as directories of transformers. EnCodec of 48 kHz hears two channels, in
stretches of a second that it scales to one power; that power can be a level of its own."""
EXAMPLES = """\
  dvse import codec mimi/ --num-levels 8 --chunk-s 60 --output runs/mimi
  dvse import codec encodec_48khz/ --num-levels 8 --last-chunk short --loudness level \\
      --output runs/encodec
  dvse import codec dac_16khz/ --num-levels 12 --chunk-s 60 --licence MIT --output runs/dac"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", type=Path, metavar="DIR")
    parser.add_argument("--num-levels", type=int, metavar="N", help="residual levels to use")
    parser.add_argument(
        "--chunk-s", type=float, metavar="S", help="longer recordings are cut there"
    )
    parser.add_argument(
        "--last-chunk",
        choices=("short", "filled"),
        help="of a codec with stretches of its own: as long as it is, or filled up with silence",
    )
    parser.add_argument(
        "--loudness",
        choices=("level", "none"),
        help="of a codec that scales each stretch: one more level says its power, or nothing does",
    )
    parser.add_argument(
        "--licence", default="", help="of the weights; recorded and shown by inspect"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Import, say what came out."""
    from pipelines.importing.codec import import_codec

    part = import_codec(
        args.source,
        args.output,
        num_levels=args.num_levels,
        chunk_s=args.chunk_s,
        last_chunk=args.last_chunk,
        loudness=args.loudness,
        licence=args.licence,
    )
    print(f"{part.folder}: {args.num_levels} levels of {part.provenance['family']}")
    return 0
