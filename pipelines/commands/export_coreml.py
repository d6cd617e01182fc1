"""`dvse export coreml`."""

import argparse

from pipelines.commands.export_device import add_arguments, run_target

HELP = """\
Write a model, or a bundle alone, as Core ML packages for iOS 18 and macOS 15 on.

MODEL is a shipped name, a directory or a Hub id. OUT holds decoder.mlpackage, its cache a state,
pictures.mlpackage (a square of the largest size) and recordings.mlpackage (one full window), and
what is needed to read ids (extra 'coreml'). Core ML runs on Apple's systems alone: elsewhere the
packages are written and read back, and not run."""
EXAMPLES = """\
  dvse export coreml tiny tiny-coreml --context 256"""
__all__ = ["EXAMPLES", "HELP", "add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Export and print the figures."""
    from pipelines.runtimes.coreml_target import CoremlTarget

    return run_target(CoremlTarget(), args)
