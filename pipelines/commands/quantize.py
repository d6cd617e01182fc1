"""`dvse quantize`."""

import argparse
import sys
from pathlib import Path

from pipelines.commands.fields import add_flags, from_flags
from pipelines.training.decoder.quantization_settings import QuantizationSettings

HELP = """Make a model with 8 or 4 bits a weight, and write it only if it is good enough.

It is judged beside the model it is made from: the loss of held-out answers and the share of gates
that flip (--tokens), accuracy and word error of captions (--data). Embedding, head, router and
gates stay as they are. --calibrate rounds each weight so that the outputs on training rows change
least (GPTQ). The result loads with from_pretrained, dvse caption and dvse serve; its card has the
figures.

exit codes: 0 written, 1 it could not be made, 3 it loses too much and was not written"""
EXAMPLES = """\
  dvse quantize tiny --to int8 --tokens held-out --output tiny-int8
  dvse quantize my-model --to int4 --group-size 64 --tokens held-out --data labelled/ \\
      --calibrate tokens --output my-model-int4"""

EXIT_TOO_MUCH = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; those of `QuantizationSettings` among them."""
    parser.add_argument("model", metavar="MODEL", help="a shipped name, a directory or a Hub id")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    add_flags(parser, QuantizationSettings)
    parser.add_argument(
        "--calibrate", type=Path, metavar="DIR", help="shards of training rows to round by (GPTQ)"
    )
    judge = parser.add_argument_group("what it is judged by")
    judge.add_argument("--tokens", type=Path, metavar="DIR", help="shards of held-out answers")
    judge.add_argument("--data", type=Path, metavar="DIR", help="labelled data, see dvse evaluate")
    judge.add_argument("--write-anyway", action="store_true", help="whatever it loses")


def run(args: argparse.Namespace) -> int:
    """Quantize, judge, write; print both."""
    from dvse.errors import ConfigError
    from model import ModelError
    from pipelines.training.decoder.quantizing import quantize_model

    settings = from_flags(QuantizationSettings, args)
    try:
        judgement = quantize_model(
            args.model,
            args.output,
            settings,
            tokens=args.tokens,
            data=args.data,
            calibrate=args.calibrate,
            write_anyway=args.write_anyway,
            progress=lambda line: print(line, file=sys.stderr),
        )
    except ModelError as error:
        raise ConfigError(f"{args.model}: {error}") from error
    for name, value in judgement.figures.items():
        print(f"{name}: {value}")
    for miss in judgement.misses:
        print(f"MISSED: {miss}")
    if judgement.misses and not args.write_anyway:
        print("not written; --write-anyway writes it all the same", file=sys.stderr)
        return EXIT_TOO_MUCH
    print(f"written: {args.output}")
    return 0
