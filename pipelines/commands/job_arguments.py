"""What the commands that run a job share: its arguments, its exit codes, and running it.

Each command brings a step and says what it prints; where and how the job runs is decided here.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.job.summary import Summary
    from pipelines.steps.step import Step

EXIT_OK, EXIT_TOO_MANY_ERRORS, EXIT_REFUSED = 0, 3, 4
EXIT_STOPPED = {"SIGINT": 130, "SIGTERM": 143}
EXIT_CODES = """\
exit codes:
  0    finished: every input is a row or a line of errors.jsonl
  1    failed; the reason is on stderr, what is finished stays
  2    the command line is wrong
  3    too many inputs failed (--max-error-rate), or not one gave a row
  4    refused to go on: another {what}, other inputs, options or numerics than before
  130  stopped by Ctrl-C       143  stopped by SIGTERM"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that every job has."""
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="decode processes; 0 does everything in one process (default: the processors here)",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        help="cpu, cuda, or several: cuda:0,cuda:1 (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of the encoder on a CPU, part of the numerics profile (default: the "
        "processors here)",
    )
    parser.add_argument(
        "--shard-size", type=int, default=1000, metavar="N", help="inputs a shard (%(default)s)"
    )
    parser.add_argument(
        "--template", help="lays out samples of tars, tables and folders: '{image}{text}'"
    )
    parser.add_argument(
        "--max-error-rate",
        type=float,
        default=1.0,
        metavar="F",
        help="end early once more than this share of the inputs has failed (default: never)",
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds that a decoder may take without progress (default: %(default)g)",
    )
    parser.add_argument("--retry-errors", action="store_true", help="try failed inputs again")
    parser.add_argument(
        "--overwrite", action="store_true", help="delete what an earlier job left and start again"
    )
    parser.add_argument(
        "--allow-numerics-drift",
        action="store_true",
        help="go on although device, threads or library versions have changed",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="count the inputs, try a few, write nothing"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")


def devices_of(args: argparse.Namespace) -> list[str]:
    """Return the devices of `--device`.

    Raises:
        ConfigError: none, or of several kinds.
    """
    from dvse.errors import ConfigError

    devices = [name.strip() for name in args.device.split(",") if name.strip()]
    if len({name.partition(":")[0] for name in devices}) != 1:
        raise ConfigError(f"--device: expected devices of one kind, received {args.device!r}")
    return devices


def run_job(
    args: argparse.Namespace,
    step: "Step",
    *,
    command: str,
    output: Path,
    chunks_at_once: int,
    finish: "Callable[[Summary], None]",
) -> int:
    """Run the job in the directory `output` and return the exit code.

    Args:
        args: with the fields of `add_arguments` and `inputs`.
        step: what is done.
        command: the command's name, for messages.
        output: directory of shards and journal.
        chunks_at_once: chunks that are handed to the encoder together.
        finish: called with the summary when the job was not stopped early.
    """
    from dvse.errors import ResumeError, TooManyErrorsError
    from dvse.numerics import default_workers
    from pipelines.engines.engine import Engine
    from pipelines.engines.inline import InlineEngine
    from pipelines.engines.local import LocalEngine
    from pipelines.job.config import JobConfig
    from pipelines.job.job import Job
    from pipelines.job.progress import make_progress
    from pipelines.sources.registry import SourceOptions

    devices = devices_of(args)
    config = JobConfig(
        inputs=args.inputs,
        output=output,
        shard_size=args.shard_size,
        max_error_rate=args.max_error_rate,
        source_options=SourceOptions(template=args.template),
        overwrite=args.overwrite,
        retry_errors=args.retry_errors,
        allow_numerics_drift=args.allow_numerics_drift,
        device=devices[0],
    )
    if args.dry_run:
        return _dry_run(config, step)
    workers = default_workers() if args.workers is None else args.workers
    engine: Engine
    if workers == 0:
        engine = InlineEngine(device=devices[0], batch_size=chunks_at_once)
    else:
        engine = LocalEngine(
            devices=devices,
            num_workers=workers,
            batch_size=chunks_at_once,
            time_limit_s=args.time_limit,
        )
    progress = make_progress(is_quiet=args.quiet)
    try:
        summary = Job(config, step, engine, progress=progress).run()
    except TooManyErrorsError as error:
        print(f"dvse {command}: {error}", file=sys.stderr)
        return EXIT_TOO_MANY_ERRORS
    except ResumeError as error:
        print(f"dvse {command}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    if not summary.stopped_by:
        finish(summary)
    if not args.quiet:
        print(summary.table())
    if summary.stopped_by:
        print(
            f"dvse {command}: stopped by {summary.stopped_by}; what is finished stays, run the "
            "same command again to go on",
            file=sys.stderr,
        )
        return EXIT_STOPPED[summary.stopped_by]
    if summary.num_inputs and not summary.num_rows:
        print(
            f"dvse {command}: not one of {summary.num_inputs:,} inputs gave a row; see "
            f"{output / 'errors.jsonl'}",
            file=sys.stderr,
        )
        return EXIT_TOO_MANY_ERRORS
    return EXIT_OK


def _dry_run(config: object, step: "Step") -> int:
    from pipelines.engines.inline import InlineEngine
    from pipelines.job.config import JobConfig
    from pipelines.job.estimate import estimate

    assert isinstance(config, JobConfig)
    print(
        estimate(
            config.inputs,
            config.source_options,
            step,
            InlineEngine(device=config.device),
            shard_size=config.shard_size,
        ).table()
    )
    return EXIT_OK
