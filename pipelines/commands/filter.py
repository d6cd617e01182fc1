"""`dvse filter`."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from dvse.remote.remote_path import Location
from pipelines.commands.answers import place

HELP = """\
Leave rows of token shards out, by the filters of a TOML file, and say which and why.

Each table of the file is a filter, its keys are settings. They judge in the order of the file.
Rows that stay are written to OUT as they were; the others to OUT/filtered-*.parquet with filter,
reason and score (dvse inspect OUT --filtered). Those that look at media (loudness, silence, voice,
resolution, near_duplicate_pictures) are for dvse tokenize --filter.

"""
EXAMPLES = """\
  dvse filter tokens clean --filter filters.toml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from pipelines.filtering.filters import tables_help

    parser.description = f"{HELP}{tables_help()}"
    parser.add_argument("tokens", type=place, metavar="TOKENS")
    parser.add_argument("output", type=Path, metavar="OUT")
    parser.add_argument("--filter", type=Path, required=True, metavar="FILE.toml")


def run(args: argparse.Namespace) -> int:
    """Filter and print the counts."""
    from pipelines.filtering.filtering import filter_shards
    from pipelines.filtering.filters import read_filters

    filters = read_filters(args.filter)
    judge = filters.judge(decode_text=_text_of_ids(args.tokens))
    print(filter_shards(args.tokens, args.output, filters, judge).table())
    return 0


def _text_of_ids(tokens: Location) -> Callable[[Sequence[int]], str] | None:
    """The text tokenizer of the bundle that made the shards."""
    from dvse.storage.shard import find_shards, read_metadata
    from pipelines.commands.text_of_ids import text_of_ids
    from pipelines.commands.verify import bundle_of

    shard = next(iter(find_shards(tokens)), None)
    if shard is None:
        return None  # whoever filters says what is missing
    metadata = read_metadata(shard)
    bundle = bundle_of(tokens) or metadata.bundle
    return text_of_ids(bundle, fingerprint=metadata.vocabulary_fingerprint)
