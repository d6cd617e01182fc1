"""`dvse tokenize`."""

import argparse
import sys
from pathlib import Path

HELP = """\
Turn files into token shards: resumable, in input order, nothing lost.

INPUT is a file, a folder (searched to the bottom), a glob, a WebDataset .tar, a .parquet with
Image or Audio columns, a manifest (fairseq .tsv, Kaldi wav.scp, NeMo or lhotse .jsonl, .csv with a
path column), a .jsonl of conversations or texts, or hf:NAME?split=train&streaming=true for
anything that datasets.load_dataset reads. Each input ends as a row of a shard or as a line of
DIR/errors.jsonl. A .txt beside a picture or recording is an input and travels along as its text.

Run the same command again after any interruption: only what is missing is done."""
EXAMPLES = """\
  dvse tokenize photos/ clips/*.wav --output tokens
  dvse tokenize train-*.tar --template '{jpg}Describe it. {txt}' --output tokens
  dvse tokenize hf:user/pictures?split=train --output tokens --workers 8 --device cuda:0,cuda:1
  dvse tokenize photos/ --output tokens --dry-run

exit codes:
  0    finished: every input is a row or a line of errors.jsonl
  1    failed; the reason is on stderr, what is finished stays
  2    the command line is wrong
  3    too many inputs failed (--max-error-rate), or not one could be tokenised
  4    refused to go on: another bundle, other inputs, options or numerics than before
  130  stopped by Ctrl-C       143  stopped by SIGTERM"""

EXIT_OK, EXIT_TOO_MANY_ERRORS, EXIT_REFUSED = 0, 3, 4
EXIT_STOPPED = {"SIGINT": 130, "SIGTERM": 143}
_SMALL_JOB = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--bundle", default="tiny", help="name, directory or Hub id (default: %(default)s)"
    )
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
        "--batch-size",
        type=int,
        default=256,
        metavar="N",
        help="pictures and windows handed to the encoder at once; never changes a token "
        "(default: %(default)s)",
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
        "--overwrite", action="store_true", help="delete the shards in DIR and start again"
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


def run(args: argparse.Namespace) -> int:
    """Run the job and print what came of it."""
    from dvse.errors import ConfigError, ResumeError, TooManyErrorsError
    from pipelines.engines.engine import Engine
    from pipelines.engines.inline import InlineEngine
    from pipelines.engines.local import LocalEngine
    from pipelines.job.job import Job, JobConfig
    from pipelines.job.progress import make_progress
    from pipelines.job.tokenize_step import TokenizeStep, default_workers
    from pipelines.sources.registry import SourceOptions

    devices = [name.strip() for name in args.device.split(",") if name.strip()]
    kinds = {name.partition(":")[0] for name in devices}
    if len(kinds) != 1:
        raise ConfigError(f"--device: expected devices of one kind, received {args.device!r}")
    config = JobConfig(
        inputs=args.inputs,
        output=args.output,
        shard_size=args.shard_size,
        max_error_rate=args.max_error_rate,
        source_options=SourceOptions(template=args.template),
        overwrite=args.overwrite,
        retry_errors=args.retry_errors,
        allow_numerics_drift=args.allow_numerics_drift,
        device=devices[0],
    )
    step = TokenizeStep(bundle=args.bundle, threads=args.threads)
    workers = default_workers() if args.workers is None else args.workers
    if args.dry_run:
        return _dry_run(config, step, devices[0])
    engine: Engine
    if workers == 0:
        engine = InlineEngine(device=devices[0], batch_size=args.batch_size)
    else:
        engine = LocalEngine(
            devices=devices,
            num_workers=workers,
            batch_size=args.batch_size,
            time_limit_s=args.time_limit,
        )
    progress = make_progress(is_quiet=args.quiet)
    try:
        summary = Job(config, step, engine, progress=progress).run()
    except TooManyErrorsError as error:
        print(f"dvse tokenize: {error}", file=sys.stderr)
        return EXIT_TOO_MANY_ERRORS
    except ResumeError as error:
        print(f"dvse tokenize: {error}", file=sys.stderr)
        return EXIT_REFUSED
    if not args.quiet:
        if summary.num_inputs <= _SMALL_JOB:
            _print_rows(args.output)
        print(summary.table())
    if summary.stopped_by:
        print(
            f"dvse tokenize: stopped by {summary.stopped_by}; what is finished stays, run the "
            "same command again to go on",
            file=sys.stderr,
        )
        return EXIT_STOPPED[summary.stopped_by]
    if summary.num_inputs and not summary.num_rows:
        print(
            f"dvse tokenize: not one of {summary.num_inputs:,} inputs could be tokenised; see "
            f"{args.output / 'errors.jsonl'}",
            file=sys.stderr,
        )
        return EXIT_TOO_MANY_ERRORS
    return EXIT_OK


def _dry_run(config: object, step: object, device: str) -> int:
    from pipelines.engines.inline import InlineEngine
    from pipelines.job.estimate import estimate
    from pipelines.job.job import JobConfig
    from pipelines.job.step import Step

    assert isinstance(config, JobConfig)
    assert isinstance(step, Step)
    print(
        estimate(
            config.inputs,
            config.source_options,
            step,
            InlineEngine(device=device),
            shard_size=config.shard_size,
        ).table()
    )
    return EXIT_OK


def _print_rows(output: Path) -> None:
    """A line a row, and a line an error, while there are few."""
    import json

    from dvse.shard import PATTERN, read_shard

    print(f"{'input':40} {'modality':9}{'ids':>7}  first ids")
    for path in sorted(output.glob(PATTERN)):
        for row in read_shard(path, columns=["id", "modality", "ids"]).to_pylist():
            first = " ".join(map(str, row["ids"][:8]))
            print(f"{_short(row['id']):40} {row['modality']:9}{len(row['ids']):7,}  {first}")
    with (output / "errors.jsonl").open(encoding="utf-8") as file:
        for line in map(json.loads, file):
            print(f"{_short(line['id']):40} {'error':9}{'':7}  {line['reason']}")


def _short(name: str) -> str:
    shown = "".join(c if c.isprintable() else "�" for c in name)
    return shown if len(shown) <= 40 else "…" + shown[-39:]
