"""`dvse plan`."""

import argparse
import re

from dvse.errors import ConfigError
from pipelines.commands.fields import add_flags, from_flags
from pipelines.sources.registry import SourceOptions

HELP = """\
Say what a large job would take, before there is one.

Finds all inputs, decodes a sample of them here, encodes it on one device, and says for the whole:
time, device-hours, shards, bytes, requests to an object store, and what there should be more of.
Nothing is written. --devices 64xcuda plans for 64 cards like the one here; 8xcpu for eight machines
like this one (dvse tokenize --part 1/8 …)."""
EXAMPLES = """\
  dvse plan photos/ --devices 8xcuda --workers 128
  dvse plan /data/shards/*.tar --bundle my-bundle --devices 16xcpu --shard-size 10000

exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 there are no inputs"""

_DEVICES = re.compile(r"(?:([1-9]\d*)x)?(cpu|cuda(?::\d+)?)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    parser.add_argument(
        "--bundle", default="tiny", help="name, directory or Hub id (default: %(default)s)"
    )
    parser.add_argument(
        "--devices",
        default="cpu",
        metavar="NxDEVICE",
        help="what it is to run on: cpu, cuda, 8xcuda (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="decode processes over all cards, or on each machine without (default: the "
        "processors here)",
    )
    parser.add_argument(
        "--shard-size",
        type=int,
        default=1000,
        metavar="N",
        help="inputs a shard (default: %(default)s)",
    )
    parser.add_argument(
        "--samples", type=int, default=64, metavar="N", help="inputs to try (default: %(default)s)"
    )
    add_flags(parser, SourceOptions)


def run(args: argparse.Namespace) -> int:
    """Print what it would take."""
    if (found := _DEVICES.fullmatch(args.devices)) is None:
        raise ConfigError(f"--devices: expected cpu, cuda or 8xcuda, received {args.devices!r}")
    for name in ("workers", "shard_size", "samples"):
        value = getattr(args, name)
        if value is not None and value < 1:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag}: expected at least 1, received {value}")
    from dvse.numerics import default_workers
    from pipelines.job.forecast import Hardware, forecast
    from pipelines.steps.tokenize import TokenizeStep

    told = forecast(
        args.inputs,
        from_flags(SourceOptions, args),
        TokenizeStep(bundle=args.bundle),
        Hardware(
            device=found[2],
            num_devices=int(found[1] or 1),
            num_workers=args.workers or default_workers(),
        ),
        shard_size=args.shard_size,
        num_samples=args.samples,
    )
    if told is None:
        print("there are no inputs")
        return 3
    print(told.table())
    return 0
