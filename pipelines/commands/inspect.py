"""`dvse inspect`."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dvse.remote.remote_path import Location, num_bytes
from pipelines.commands.answers import place

HELP = """\
Show the tokens of a file or of token shards to a person, or what decides those of a part or bundle.

A picture shows as its grid of codes, a recording as units with their times, a text as pieces; a
part or bundle as its settings (layer, normalisation, padding, cuts, resampler, sizes, licence) and
the figures published with it."""
EXAMPLES = """\
  dvse inspect cat.jpg
  dvse inspect tokens
  dvse inspect tokens/shard-000000.parquet --rows 3
  dvse inspect tokens --html report.html
  dvse inspect tokens --filtered --html refused.html
  dvse inspect runs/units"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("path", type=place, metavar="FILE|DIR")
    parser.add_argument(
        "--bundle", help="name, directory or Hub id (default: tiny; the one of the shards)"
    )
    parser.add_argument(
        "--rows", type=int, default=3, metavar="N", help="rows to show (default: %(default)s)"
    )
    parser.add_argument(
        "--filtered", action="store_true", help="show what filters left out, and why"
    )
    parser.add_argument("--id", metavar="NAME", help="show the row of this name only")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with pictures instead"
    )


def run(args: argparse.Namespace) -> int:
    """Print tokens, or write the page."""
    from dvse.errors import ConfigError, MissingFileError
    from dvse.storage.finding import SHIPPED

    if not args.path.exists() and (SHIPPED / args.path / "dvse.json").is_file():
        return _show_settings(SHIPPED / args.path)
    if not args.path.exists():
        raise MissingFileError(f"{args.path}: no such file or directory")
    if any((args.path / name).is_file() for name in ("part.json", "dvse.json")):
        return _show_settings(args.path)
    if args.path.is_dir() or args.path.suffix == ".parquet":
        return _show_shards(args)
    if args.html is not None:
        raise ConfigError("--html shows a directory of shards; run dvse tokenize first")
    return _show_file(args)


def _show_settings(folder: Path) -> int:
    """Print what decides the tokens of a part or of a bundle."""
    from dvse.storage.bundle import Bundle
    from dvse.storage.part import Part
    from pipelines.reports.deciding_lines import deciding_lines
    from pipelines.reports.figure_lines import figure_lines

    parts: list[tuple[str, Any, Path]] = []
    if (folder / "part.json").is_file():
        part = Part.load(folder)
        parts = [(part.modality, part, folder)]
        print(f"{folder}: {part.modality} part")
    else:
        bundle = Bundle.open(folder)
        parts = [(m, section, folder / m) for m, section in bundle.sections.items()]
        print(f"{bundle.name}: {bundle.vocabulary}\nfingerprint {bundle.fingerprint}")
    for modality, described, part_folder in parts:
        print(f"\n{modality}")
        for line in deciding_lines(modality, described.spec, part_folder, described.provenance):
            print(f"  {line}")
        for line in figure_lines(described.metrics):
            print(f"  figures  {line}")
    return 0


def _show_file(args: argparse.Namespace) -> int:
    from dvse.storage.shard import encoding_row
    from dvse.tokenizer import load
    from pipelines.reports.token_lines import head_line, row_lines
    from pipelines.sources.kinds import media_record
    from pipelines.sources.loading import load as load_record

    record = media_record(id=str(args.path), path=str(args.path), source=str(args.path))
    if record.failure is not None:
        from dvse.errors import InputError

        raise InputError(record.failure.reason)
    loaded, items = load_record(record)
    tokenizer = load(args.bundle or "tiny")
    row = encoding_row(tokenizer.encode(items), id=loaded.id, sha256=loaded.sha256)
    print(head_line(row))
    for line in row_lines(row, tokenizer.vocabulary, tokenizer.text.piece):
        print(line)
    return 0


def _show_shards(args: argparse.Namespace) -> int:
    from dvse.errors import InputError, ShardError
    from dvse.storage.bundle import Bundle
    from dvse.storage.finding import find_bundle
    from dvse.storage.shard import PATTERN, find_shards, read_metadata
    from pipelines.reports.token_lines import head_line, row_lines

    if args.filtered:
        from pipelines.commands.inspect_filtered import show_filtered

        return show_filtered(args.path, rows=args.rows, name=args.id, html=args.html)
    paths = find_shards(args.path) if args.path.is_dir() else [args.path]
    if not paths:
        raise ShardError(f"{args.path}: expected {PATTERN} written by dvse tokenize, found none")
    metadata = read_metadata(paths[0])
    name = args.bundle or _bundle_of(args.path) or metadata.bundle
    if args.html is not None:
        from dvse.tokenizer import load
        from pipelines.reports.token_report import write_token_report

        folder = args.path if args.path.is_dir() else args.path.parent
        write_token_report(folder, args.html, load(name))
        return 0
    bundle = Bundle.open(find_bundle(name))
    if bundle.vocabulary.fingerprint != metadata.vocabulary_fingerprint:
        raise InputError(
            f"{paths[0].name} was made with another vocabulary than that of bundle {name!r}; "
            "name the right one with --bundle"
        )
    if args.id is None:
        _print_summary(args.path, paths, metadata)
    shown = 0
    for shown, row in enumerate(_rows(paths, args.id), start=1):
        print(f"\n{head_line(row)}")
        for line in row_lines(row, bundle.vocabulary, _pieces(bundle)):
            print(f"  {line}")
        if row["text"]:
            print(f"  text: {row['text'].strip()[:200]!r}")
        if shown >= args.rows or args.id is not None:
            return 0
    if not shown and args.id is not None:
        raise InputError(f"{args.path}: no row is named {args.id!r}")
    return 0


def _print_summary(path: Location, paths: list[Location], metadata: Any) -> None:
    import pyarrow.compute as pc

    from dvse.storage.shard import read_shard

    rows: dict[str, int] = {}
    ids: dict[str, int] = {}
    for shard in paths:
        table = read_shard(shard, ["modality", "ids"])
        lengths = pc.list_value_length(table["ids"]).to_pylist()
        for modality, length in zip(table["modality"].to_pylist(), lengths, strict=True):
            rows[modality] = rows.get(modality, 0) + 1
            ids[modality] = ids.get(modality, 0) + length
    size = sum(map(num_bytes, paths))
    print(f"{path}: {len(paths):,} shards, {size / 1e6:,.2f} MB, bundle {metadata.bundle}")
    profile = metadata.profile
    print(f"made on {profile.get('processor', profile.get('device'))}, fp32, "
          f"{profile.get('threads')} threads")  # fmt: skip
    print(f"{'':10}{'rows':>12}{'ids':>16}{'ids a row':>12}")
    for modality in sorted(rows):
        mean = ids[modality] / rows[modality]
        print(f"{modality:10}{rows[modality]:12,}{ids[modality]:16,}{mean:12,.1f}")


def _rows(paths: list[Location], name: str | None) -> Iterator[dict[str, Any]]:
    from dvse.storage.shard import read_shard

    for path in paths:
        table = read_shard(path)
        if name is None:
            for batch in table.to_batches(max_chunksize=16):
                yield from batch.to_pylist()
        else:
            import pyarrow.compute as pc

            yield from table.filter(pc.equal(table["id"], name)).to_pylist()


def _pieces(bundle: Any) -> Callable[[int], str]:
    from dvse.text.loading import load_text_tokenizer

    return load_text_tokenizer(bundle.sections["text"].spec, bundle.folder / "text").piece


def _bundle_of(path: Location) -> str | None:
    """The bundle as the job was given it, so that one loaded by path is found again."""
    from pipelines.job.open_journal import open_journal

    journal = open_journal(path if path.is_dir() else path.parent)
    return journal.read_job().get("bundle_given") if journal.exists() else None
