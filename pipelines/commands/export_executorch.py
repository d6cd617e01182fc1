"""`dvse export executorch`."""

import argparse

from pipelines.commands.export_device import add_arguments, run_target

HELP = """\
Write a model, or a bundle alone, as ExecuTorch programs (XNNPACK) for Android, iOS, small boards.

MODEL is a shipped name, a directory or a Hub id. OUT holds decoder.pte, whose cache is inside,
pictures.pte and recordings.pte with the search for the nearest code in the program, and what is
needed to read ids. Each is run by ExecuTorch's Python runtime beside torch before it is kept
(extra 'executorch'). --weights int4 has 4-bit weights and 8-bit activations in the decoder."""
EXAMPLES = """\
  dvse export executorch tiny tiny-pte
  dvse export executorch my-model my-model-pte --weights int4 --context 1024"""
__all__ = ["EXAMPLES", "HELP", "add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Export and print the figures."""
    from pipelines.runtimes.executorch_target import ExecutorchTarget

    return run_target(ExecutorchTarget(), args)
