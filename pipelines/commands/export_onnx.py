"""`dvse export onnx`."""

import argparse
import sys
from pathlib import Path

from pipelines.commands.fields import add_flags, from_flags
from pipelines.runtimes.onnx_settings import OnnxSettings

HELP = """\
Write a model, or a bundle alone, as ONNX graphs: a directory that answers without torch.

MODEL is a shipped name, a directory or a Hub id. OUT holds picture and sound encoder with the
search for the nearest code in the graph, and the decoder with its cache: prompt and single tokens
are one graph with free sizes. Each graph is run at other shapes than it was traced at, beside what
it was made from; nothing is written that does not agree.

dvse.load(OUT), Captioner.load(OUT), dvse tokenize --bundle OUT and dvse caption --model OUT run it
(extra 'onnx'); an exported bundle has a fingerprint and a numerics profile of its own."""
EXAMPLES = """\
  dvse export onnx tiny tiny-onnx
  dvse export onnx my-model my-model-int8 --weights int8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("output", type=Path, metavar="OUT")
    add_flags(parser, OnnxSettings)


def run(args: argparse.Namespace) -> int:
    """Export and print the figures."""
    from pipelines.runtimes.onnx_export import export_onnx

    export = export_onnx(
        args.model,
        args.output,
        from_flags(OnnxSettings, args),
        note=lambda line: print(line, file=sys.stderr),
    )
    for name, value in export.figures.items():
        print(f"{name}: {value}")
    print(f"written: {export.folder}")
    return 0
