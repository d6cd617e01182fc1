"""What `dvse export executorch` and `dvse export coreml` share."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.fields import add_flags, from_flags
from pipelines.runtimes.device_settings import DeviceSettings

if TYPE_CHECKING:
    from pipelines.runtimes.device_export import DeviceTarget


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("output", type=Path, metavar="OUT")
    add_flags(parser, DeviceSettings)


def run_target(target: "DeviceTarget", args: argparse.Namespace) -> int:
    """Export and print the figures."""
    from pipelines.runtimes.device_export import export_to_device

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
