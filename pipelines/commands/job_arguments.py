"""What the commands that run a job share: its arguments, its exit codes, and running it.

Each command brings a step and says what it prints; where and how the job runs is decided here.
"""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from dvse.remote.remote_path import Location
from pipelines.commands.fields import add_flags, from_flags
from pipelines.engines.settings import Placement
from pipelines.job.config import JobConfig

if TYPE_CHECKING:
    from pipelines.filtering.work import FilterWork
    from pipelines.job.summary import Summary
    from pipelines.steps.step import Step

_SHOWN = 10
EXIT_OK, EXIT_TOO_MANY_ERRORS, EXIT_REFUSED = 0, 3, 4
EXIT_STOPPED = {"SIGINT": 130, "SIGTERM": 143}
EXIT_CODES = """\
exit codes:
  0    finished: every input is a row or a line of errors.jsonl or filtered.jsonl
  1    failed; the reason is on stderr, what is finished stays
  2    the command line is wrong
  3    too many inputs failed (--max-error-rate), not one gave a row, or not one of a data set
  4    refused to go on: another {what}, other inputs, options or numerics than before
  130  stopped by Ctrl-C       143  stopped by SIGTERM"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that every job has."""
    add_flags(parser, Placement, JobConfig)
    parser.add_argument(
        "--dry-run", action="store_true", help="count the inputs, try a few, write nothing"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")


def run_job(
    args: argparse.Namespace,
    make_step: "Callable[[FilterWork | None], Step]",
    *,
    make_filters: "Callable[[], FilterWork | None]" = lambda: None,
    command: str,
    output: Location,
    max_chunks: int,
    finish: "Callable[[Summary], None]",
) -> int:
    """Run the job in the directory `output` and return the exit code.

    Args:
        args: with the fields of `add_arguments` and `inputs`.
        make_step: makes what is done behind some filters; called after the first line is shown.
        make_filters: makes them.
        command: the command's name, for messages.
        output: directory of shards and journal.
        max_chunks: chunks that are handed to the encoder together.
        finish: called with the summary when all of the job is done.
    """
    from pipelines.job.progress import make_progress

    placement = from_flags(Placement, args)
    config = from_flags(
        JobConfig, args, inputs=args.inputs, output=output, device=placement.devices[0]
    )
    progress = make_progress(is_quiet=args.quiet)
    # Libraries take seconds to load, and a person wants to see at once that something happens.
    progress.note(f"dvse {command}: finding the inputs")

    from dvse.errors import ResumeError, TooManyErrorsError
    from pipelines.job.job import Job
    from pipelines.job.part_job import PartJob

    filters = make_filters()
    step = make_step(filters)
    if args.dry_run:
        return _dry_run(config, step)
    engine = placement.engine(max_chunks=max_chunks)
    job = Job if config.part is None else PartJob
    try:
        summary = job(config, step, engine, filters=filters, progress=progress).run()
    except (TooManyErrorsError, ResumeError) as error:
        print(f"dvse {command}: {error}", file=sys.stderr)
        return EXIT_REFUSED if isinstance(error, ResumeError) else EXIT_TOO_MANY_ERRORS
    if not summary.stopped_by and not summary.num_missing:
        finish(summary)
    if not args.quiet:
        print(summary.table())
    return _exit_code(summary, command, output)


def _exit_code(summary: "Summary", command: str, output: Location) -> int:
    if summary.stopped_by:
        print(
            f"dvse {command}: stopped by {summary.stopped_by}; what is finished stays, run the "
            "same command again to go on",
            file=sys.stderr,
        )
        return EXIT_STOPPED[summary.stopped_by]
    if summary.num_missing:
        return EXIT_OK  # other parts are at it: whoever finishes the job judges it
    if summary.num_inputs and not summary.num_rows:
        print(
            f"dvse {command}: not one of {summary.num_inputs:,} inputs gave a row; see "
            f"{output / ('filtered.jsonl' if summary.num_filtered else 'errors.jsonl')}",
            file=sys.stderr,
        )
        return EXIT_TOO_MANY_ERRORS
    if summary.fruitless:
        names = "".join(f"\n  {name}" for name in summary.fruitless[:_SHOWN])
        more = len(summary.fruitless) - _SHOWN
        print(
            f"dvse {command}: not one row came of {len(summary.fruitless)} data sets; see "
            f"{output / 'errors.jsonl'}{names}" + (f"\n  and {more} more" if more > 0 else ""),
            file=sys.stderr,
        )
        return EXIT_TOO_MANY_ERRORS
    return EXIT_OK


def _dry_run(config: JobConfig, step: "Step") -> int:
    from pipelines.engines.inline import InlineEngine
    from pipelines.job.estimate import estimate

    found = estimate(
        config.inputs,
        config.source_options,
        step,
        InlineEngine(device=config.device),
        shard_size=config.shard_size,
        output=config.output,
    )
    print(found.table())
    return EXIT_OK
