"""`dvse caption`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pipelines.answering.settings import CaptionOptions
from pipelines.answering.weight_format import QUANTIZE_HELP, Quantization
from pipelines.commands import job_arguments
from pipelines.commands.answers import output_place
from pipelines.commands.fields import add_flags, from_flags
from pipelines.commands.runtime import opened
from pipelines.engines.settings import Placement
from pipelines.runtimes.runtime_settings import RuntimeSettings

if TYPE_CHECKING:
    from pipelines.job.summary import Summary
    from pipelines.steps.step import Step

HELP = """\
Say what is in pictures and recordings, or answer a question about each.

INPUT is whatever dvse tokenize takes: files, folders, globs, tars, Parquet, manifests, JSON lines
(of a conversation the last answer is made anew), hf: addresses. A few inputs are printed. With
--output they become the rows of one file, in input order; the job behind it lies in FILE.job, with
a line in errors.jsonl for each input that has no caption.

Run the same command again after any interruption: only what is missing is done."""
EXAMPLES = """\
  dvse caption cat.jpg seven.wav
  dvse caption digits.wav --prompt 'Add the digits.' --thinking
  dvse caption photos/ clips/ --output captions.jsonl
  dvse caption hf:user/pictures?split=train --output captions.parquet --device cuda:0,cuda:1

""" + job_arguments.EXIT_CODES.format(what="model")

MOST_PRINTED = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    parser.add_argument(
        "--output", type=output_place, metavar="FILE", help="captions.jsonl or captions.parquet"
    )
    parser.add_argument(
        "--model", default="tiny", help="name, directory or Hub id (default: %(default)s)"
    )
    add_flags(parser, CaptionOptions, RuntimeSettings)
    parser.add_argument("--dtype", help="of the decoder, such as bfloat16 (default: as stored)")
    parser.add_argument(
        "--quantize",
        choices=get_args(Quantization),
        help=QUANTIZE_HELP,
    )
    job_arguments.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Caption the inputs: print them, or run the job that writes a file."""
    options = from_flags(CaptionOptions, args)

    def make_step(filters: object = None) -> "Step":
        from pipelines.answering.model_folders import find_model
        from pipelines.steps.caption import CaptionStep

        placement = from_flags(Placement, args)
        find_model(args.model)  # an export is made of what can answer alone
        return CaptionStep(
            model=opened(args.model, args),
            options=options,
            threads=placement.threads,
            dtype=args.dtype,
            precision=placement.precision,
            batch_tokens=placement.batch_tokens,
            quantize=args.quantize,
        )

    if args.output is None and not args.dry_run:
        return _print(args, make_step())
    from pipelines.steps.caption_file import check_ending, job_directory, write_captions

    output = check_ending(args.output or Path("captions.jsonl"))

    def finish(_summary: "Summary") -> None:
        write_captions(job_directory(output), output)

    return job_arguments.run_job(
        args,
        make_step,
        command="caption",
        output=job_directory(output),
        max_chunks=max(256, options.answers.batch_size),
        finish=finish,
    )


def _print(args: argparse.Namespace, step: "Step") -> int:
    """Print a caption a line, in order; what failed goes to stderr."""
    from pipelines.engines.inline import InlineEngine
    from pipelines.job.few import outcomes_of_few
    from pipelines.sources.registry import SourceOptions

    outcomes = outcomes_of_few(
        args.inputs,
        from_flags(SourceOptions, args),
        step,
        InlineEngine(device=from_flags(Placement, args).devices[0]),
        most=MOST_PRINTED,
    )
    for outcome in outcomes:
        if outcome.row is None:
            assert outcome.failure is not None
            reason = outcome.failure.reason
            about = "" if outcome.id in reason else f"{outcome.id}: "
            print(f"dvse caption: {about}{reason}", file=sys.stderr)
            continue
        reasoning = outcome.row["reasoning"]
        thought = "" if reasoning is None else f"<think>{reasoning}</think>"
        name = f"{outcome.id}: " if len(outcomes) > 1 else ""
        print(f"{name}{thought}{outcome.row['caption']}")
    is_any = any(outcome.row is not None for outcome in outcomes)
    return job_arguments.EXIT_OK if is_any else job_arguments.EXIT_TOO_MANY_ERRORS
