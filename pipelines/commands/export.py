"""`dvse export`."""

import argparse

from dvse.remote.remote_path import Location, RemotePath
from pipelines.commands.answers import output_place, place

HELP = """\
Write token shards as the files that a trainer reads.

FORMAT is megatron, webdataset, mds, energon, nanotron, litdata or datasets. Documents keep their
order; OUT/provenance says which input is which. Run the same command again after any
interruption: only what is missing is written, and the bytes are the same. dvse verify OUT
--against TOKENS proves an export id by id."""
EXAMPLES = """\
  dvse export megatron tokens megatron --split train:0.99 valid:0.01 --end-id '<|endoftext|>'
  dvse export webdataset tokens wds --workers 8
  dvse export datasets tokens hub --push-to owner/name"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("format", metavar="FORMAT")
    parser.add_argument("tokens", type=place, metavar="TOKENS")
    parser.add_argument("output", type=output_place, metavar="OUT")
    parser.add_argument(
        "--split",
        nargs="+",
        default=["train:1"],
        metavar="NAME:SHARE",
        help="splits and their shares; equal inputs never stand in two (default: train:1)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: %(default)s)")
    parser.add_argument(
        "--end-id",
        metavar="ID|TOKEN",
        help="put this id behind every document, e.g. '<|endoftext|>' (default: none)",
    )
    parser.add_argument(
        "--piece-mb",
        type=float,
        default=64,
        metavar="N",
        help="MiB of ids a file, in formats of many files (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes; they never change a byte (default: %(default)s)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete an earlier export in OUT and begin again"
    )
    parser.add_argument(
        "--push-to",
        metavar="OWNER/NAME",
        help="upload a finished export in format datasets to the Hugging Face Hub",
    )


def run(args: argparse.Namespace) -> int:
    """Export and print what came of it."""
    from dvse.errors import ConfigError
    from pipelines.export.export import export
    from pipelines.export.formats import find_format
    from pipelines.export.settings import MEGABYTE, ExportSettings

    kind = find_format(args.format)
    if args.push_to is not None and kind.name != "datasets":
        raise ConfigError(f"--push-to uploads an export in format datasets, not {kind.name}")
    if args.push_to is not None and isinstance(args.output, RemotePath):
        raise ConfigError("--push-to uploads an export that lies on this machine")
    if args.workers < 1:
        raise ConfigError(f"--workers: expected at least 1, received {args.workers}")
    settings = ExportSettings(
        tokens=args.tokens,
        output=args.output,
        splits=dict(map(_share, args.split)),
        seed=args.seed,
        end_id=_end_id(args.end_id, args.tokens),
        piece_bytes=int(args.piece_mb * MEGABYTE),
    )
    summary = export(kind, settings, num_workers=args.workers, overwrite=args.overwrite)
    print(summary.table())
    if args.push_to is not None:
        from pipelines.export.hub import push

        print(push(args.output, args.push_to))
    return 0


def _share(text: str) -> tuple[str, float]:
    from dvse.errors import ConfigError

    name, _, share = text.rpartition(":")
    try:
        return name, float(share)
    except ValueError:
        raise ConfigError(f"--split: expected NAME:SHARE, received {text!r}") from None


def _end_id(given: str | None, tokens: Location) -> int | None:
    """The id itself, or that of a special token in the vocabulary of the bundle of the shards."""
    from dvse.errors import ConfigError
    from dvse.storage.bundle import Bundle
    from dvse.storage.finding import find_bundle
    from dvse.storage.shard import find_shards, read_metadata
    from pipelines.commands.verify import bundle_of

    if given is None or given.isdecimal():
        return None if given is None else int(given)
    shard = next(iter(find_shards(tokens)), None)
    if shard is None:
        return None  # the export says what is missing
    metadata = read_metadata(shard)
    vocabulary = Bundle.open(find_bundle(bundle_of(tokens) or metadata.bundle)).vocabulary
    if vocabulary.fingerprint != metadata.vocabulary_fingerprint:
        raise ConfigError(
            f"--end-id {given}: the bundle {metadata.bundle!r} has another vocabulary than the "
            "shards; give the id as a number"
        )
    if given not in vocabulary.special_tokens:
        raise ConfigError(f"--end-id {given}: expected an id or a special token of the bundle")
    return vocabulary.special_tokens[given]
