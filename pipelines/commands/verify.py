"""`dvse verify`."""

import argparse
import sys
from dataclasses import replace
from typing import Any

from dvse.remote.remote_path import Location
from pipelines.commands.answers import place
from pipelines.commands.fields import add_flags, from_flags
from pipelines.job.verification_settings import VerificationSettings

HELP = """\
Prove that token shards are whole and still come out the same.

Checks the hash of every shard, every id and the grammar of every row (of more than 1,000 shards
those of 1,000, all with --deep), then reads a sample of the inputs and tokenises each again alone.
Every differing code is a line. With --against DIR is an export (dvse export), read back and
compared with the shards it was made from, id by id; or composed rows (dvse compose), whose pictures
and recordings are compared with those of the rows that they were made from."""
EXAMPLES = """\
  dvse verify tokens
  dvse verify tokens --samples 500 --bundle my-bundle
  dvse verify tokens --against-precision float32   # of shards made in bfloat16
  dvse verify megatron --against tokens
  dvse verify rows --against speech photos

exit codes: 0 all well, 1 problems (each is a line on stderr), 2 the command line is wrong"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=place, metavar="DIR")
    add_flags(parser, VerificationSettings)
    parser.add_argument(
        "--against",
        type=place,
        nargs="+",
        metavar="TOKENS",
        help="the token shards that an export, or composed rows, came from",
    )


def run(args: argparse.Namespace) -> int:
    """Verify and print what was found."""
    if args.against is not None:
        return _report(_against(args))
    from pipelines.job.verification import verify

    settings = from_flags(VerificationSettings, args)
    if settings.bundle is None:
        settings = replace(settings, bundle=bundle_of(args.folder))
    return _report(verify(args.folder, settings))


def _against(args: argparse.Namespace) -> Any:
    from dvse.errors import ConfigError
    from pipelines.composing.verification import is_composed, verify_composed
    from pipelines.export.verification import verify_export

    if is_composed(args.folder):
        bundle = args.bundle or bundle_of(args.against[0])
        return verify_composed(args.folder, args.against, bundle=bundle)
    if len(args.against) > 1:
        raise ConfigError(
            f"--against: an export comes from one directory, received {len(args.against)}"
        )
    return verify_export(args.folder, args.against[0])


def _report(found: Any) -> int:
    for problem in found.problems:
        print(f"dvse verify: {problem}", file=sys.stderr)
    print(found.table())
    return 1 if found.problems else 0


def bundle_of(folder: Location) -> str | None:
    """Return the bundle as the job was given it, so that one loaded by path is found again."""
    from pipelines.job.open_journal import open_journal

    journal = open_journal(folder)
    return journal.read_job().get("bundle_given") if journal.exists() else None
