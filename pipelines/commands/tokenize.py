"""`dvse tokenize`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dvse.errors import ConfigError
from dvse.remote.remote_path import Location
from pipelines.commands import job_arguments
from pipelines.commands.answers import output_place
from pipelines.commands.fields import add_flags, from_flags
from pipelines.commands.runtime import opened
from pipelines.engines.settings import Placement
from pipelines.runtimes.runtime_settings import RuntimeSettings

if TYPE_CHECKING:
    from pipelines.filtering.work import FilterWork
    from pipelines.job.summary import Summary
    from pipelines.steps.step import Step

HELP = """\
Turn files into token shards: resumable, in input order, nothing lost.

INPUT is a file, a folder (searched to the bottom), a glob, a WebDataset .tar, a .parquet with
Image or Audio columns, a manifest (fairseq .tsv, Kaldi wav.scp, NeMo .json, lhotse .jsonl, .csv
with a path column), a .jsonl of conversations or texts, or hf:NAME?split=train&streaming=true for
anything that datasets.load_dataset reads. Files, folders and manifests may lie behind s3://, gs://,
hf:// or http(s)://, and DIR behind s3:// or gs:// (extra 'remote').

Each input ends as a row of a shard or as a line of DIR/errors.jsonl. A .txt beside a picture or
recording is an input and travels along as its text.

Run the same command again after any interruption: only what is missing is done.

With --filter inputs are judged by the tables of a TOML file (dvse filter --help lists them), those
on sounds and pictures before anything is encoded. What is refused is a line of DIR/filtered.jsonl
with filter, reason and score (dvse inspect DIR --filtered)."""
EXAMPLES = """\
  dvse tokenize photos/ clips/*.wav --output tokens
  dvse tokenize train-*.tar --template '{jpg}Describe it. {txt}' --output tokens
  dvse tokenize hf:user/pictures?split=train --output tokens --workers 8 --device cuda:0,cuda:1
  dvse tokenize crawl/ --output tokens --filter filters.toml
  dvse tokenize photos/ --output tokens --device cuda --precision bfloat16 --batch-tokens 32768
  dvse tokenize photos/ --output tokens --dry-run
  dvse tokenize s3://bucket/photos --output s3://bucket/tokens

""" + job_arguments.EXIT_CODES.format(what="bundle")

_SMALL_JOB = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    parser.add_argument("--output", type=output_place, required=True, metavar="DIR")
    parser.add_argument(
        "--bundle", default="tiny", help="name, directory or Hub id (default: %(default)s)"
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
        "--filter", type=Path, metavar="FILE.toml", help="leave inputs out by the filters of a file"
    )
    add_flags(parser, RuntimeSettings)
    job_arguments.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the job and print what came of it."""
    if args.batch_size < 1:
        raise ConfigError(f"--batch-size: expected at least 1, received {args.batch_size}")

    def make_filters() -> "FilterWork | None":
        if args.filter is None:
            return None
        from pipelines.commands.text_of_ids import text_of_ids
        from pipelines.filtering.filters import read_filters
        from pipelines.filtering.work import FilterWork

        return FilterWork(read_filters(args.filter), decode_text=text_of_ids(args.bundle))

    def make_step(filters: "FilterWork | None") -> "Step":
        from pipelines.steps.tokenize import TokenizeStep

        placement = from_flags(Placement, args)
        return TokenizeStep(
            bundle=opened(args.bundle, args),
            threads=placement.threads,
            precision=placement.precision,
            batch_tokens=placement.batch_tokens,
            gate=None if filters is None else filters.gate,
        )

    def finish(summary: "Summary") -> None:
        if not args.quiet and summary.num_inputs <= _SMALL_JOB:
            _print_rows(args.output)

    return job_arguments.run_job(
        args,
        make_step,
        make_filters=make_filters,
        command="tokenize",
        output=args.output,
        max_chunks=args.batch_size,
        finish=finish,
    )


def _print_rows(output: Location) -> None:
    """A line a row, and a line an error, while there are few."""
    import json

    from dvse.storage.shard import find_shards, read_shard

    print(f"{'input':40} {'modality':9}{'ids':>7}  first ids")
    for path in find_shards(output):
        for row in read_shard(path, columns=["id", "modality", "ids"]).to_pylist():
            first = " ".join(map(str, row["ids"][:8]))
            print(f"{_short(row['id']):40} {row['modality']:9}{len(row['ids']):7,}  {first}")
    for name, kind in (("filtered.jsonl", "filtered"), ("errors.jsonl", "error")):
        if (output / name).exists():
            for line in map(json.loads, (output / name).read_bytes().splitlines()):
                print(f"{_short(line['id']):40} {kind:9}{'':7}  {line['reason']}")


def _short(name: str) -> str:
    shown = "".join(c if c.isprintable() else "�" for c in name)
    return shown if len(shown) <= 40 else "…" + shown[-39:]
