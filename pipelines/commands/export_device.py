"""What `dvse export executorch` and `dvse export coreml` share."""

import argparse
import sys
from pathlib import Path

from pipelines.commands.fields import add_flags, from_flags
from pipelines.runtimes.device_export import DeviceTarget, export_to_device
from pipelines.runtimes.device_settings import DeviceSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("output", type=Path, metavar="OUT")
    add_flags(parser, DeviceSettings)


def run_target(target: DeviceTarget, args: argparse.Namespace) -> int:
    """Export and print the figures."""
    figures = export_to_device(
        target,
        args.model,
        args.output,
        from_flags(DeviceSettings, args),
        note=lambda line: print(line, file=sys.stderr),
    )
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(f"written: {args.output}")
    return 0
