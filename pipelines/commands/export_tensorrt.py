"""`dvse export tensorrt`."""

import argparse
import sys
from pathlib import Path

from pipelines.commands.fields import add_flags, from_flags
from pipelines.runtimes.engine_settings import EngineSettings

HELP = """\
Build TensorRT engines of an export to ONNX, for the card of this machine.

EXPORT is what dvse export onnx wrote. OUT gets an engine a graph, for the sizes that are asked for.
It needs TensorRT and a card, and has not been run; dvse caption --model EXPORT --device cuda lets
ONNX Runtime build engines as it goes."""
EXAMPLES = """\
  dvse export tensorrt tiny-onnx tiny-engines --batch 4 --half"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("export", type=Path, metavar="EXPORT")
    parser.add_argument("output", type=Path, metavar="OUT")
    add_flags(parser, EngineSettings)


def run(args: argparse.Namespace) -> int:
    """Build and print the files."""
    from pipelines.runtimes.tensorrt_engine import build_engines

    engines = build_engines(
        args.export,
        args.output,
        from_flags(EngineSettings, args),
        note=lambda line: print(line, file=sys.stderr),
    )
    for path in engines:
        print(f"written: {path}")
    return 0
