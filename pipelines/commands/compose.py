"""`dvse compose`."""

import argparse
from pathlib import Path

HELP = """\
Make new token shards out of finished ones by the templates of a recipe, without encoding again.

Speech and text in turns, documents of pictures and text, task tokens (transcribe, describe,
continue), conversations from tables of questions and answers. Loss masks stand where answers are
learnt; every row is checked by the grammar of streams; OUT/provenance says which stored rows are
in which new one, OUT/left_out.jsonl what no template could be filled in for. OUT is a directory of
token shards like any other.

Run the same command again after any interruption: only what is missing is written, and the bytes
are the same. dvse verify OUT --against TOKENS compares every picture and recording with the row it
is from."""
EXAMPLES = """\
  dvse compose recipe.toml tokens --output rows
  dvse compose recipe.toml speech photos --output rows --bundle my-bundle --workers 8

recipe.toml:
  [tasks]
  transcribe = "<|reserved_141|>"
  [rows.transcripts]
  prompt = "{audio}{transcribe}"
  answer = "{text}"
  [rows.descriptions]
  user = "{image}What is this?"
  assistant = "{text}"
  [rows.questions]
  table = "questions.csv"
  user = "{image}{question}"
  assistant = "{answer}"
  together = true
  [rows.album]
  document = "{image}{text}\\n"
  join = 4
  [rows.read_along]
  interleave = "word"
  alignments = "words.jsonl"
  turns = [2, 8]"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE.toml")
    parser.add_argument("tokens", type=Path, nargs="+", metavar="TOKENS")
    parser.add_argument("--output", type=Path, required=True, metavar="OUT")
    parser.add_argument(
        "--bundle", help="the bundle that made the shards (default: the name they carry)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes; they never change a byte (default: %(default)s)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete what an earlier run left in OUT"
    )


def run(args: argparse.Namespace) -> int:
    """Compose and print what came of it."""
    from dvse.errors import ConfigError, ShardError
    from dvse.storage.shard import PATTERN, find_shards, read_metadata
    from dvse.tokenizer import load
    from pipelines.commands.verify import bundle_of
    from pipelines.composing.composing import compose
    from pipelines.composing.recipe import read_recipe

    if args.workers < 1:
        raise ConfigError(f"--workers: expected at least 1, received {args.workers}")
    recipe = read_recipe(args.recipe)
    shard = next(iter(find_shards(args.tokens[0])), None)
    if shard is None:
        raise ShardError(f"{args.tokens[0]}: expected {PATTERN}, found none")
    bundle = args.bundle or bundle_of(args.tokens[0]) or read_metadata(shard).bundle
    summary = compose(
        args.tokens,
        args.output,
        recipe,
        load(bundle),
        num_workers=args.workers,
        overwrite=args.overwrite,
    )
    print(summary.table())
    return 0
