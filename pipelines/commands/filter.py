"""`dvse filter`."""

import argparse
from pathlib import Path

HELP = """\
Leave rows of token shards out, by the filters of a TOML file, and say which and why.

Tables of the file, in the order in which they judge: [length] least, most (ids); [duration]
least_s, most_s; [grid] least_side, most_aspect (codes of a picture); [monotony] most (share of the
most frequent id), least_ids; [exact_duplicates] against (other directories of token shards);
[near_duplicate_text] most (similarity), words, num_hashes. Rows that stay are written to OUT as
they were; the others to OUT/filtered-*.parquet with filter, reason and score (dvse inspect OUT
--filtered)."""
EXAMPLES = """\
  dvse filter tokens clean --filter filters.toml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("tokens", type=Path, metavar="TOKENS")
    parser.add_argument("output", type=Path, metavar="OUT")
    parser.add_argument("--filter", type=Path, required=True, metavar="FILE.toml")


def run(args: argparse.Namespace) -> int:
    """Filter and print the counts."""
    from pipelines.filtering.filtering import filter_shards
    from pipelines.filtering.filters import read_filters

    print(filter_shards(args.tokens, args.output, read_filters(args.filter)).table())
    return 0
