"""`dvse build-bundle`."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

HELP = "Put trained parts together into a bundle, or grow a bundle; old ids never move."
EXAMPLES = """\
  dvse build-bundle --text runs/text --image runs/image --audio runs/audio --output my-bundle
  dvse build-bundle --text glm-4-9b-chat-hf --image runs/image --audio runs/audio --output glm
  dvse build-bundle --base my-bundle --audio runs/bigger --output my-bundle-2
  dvse build-bundle --base my-bundle --bpe runs/bpe --output my-bundle-bpe"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    for modality in ("text", "image", "audio"):
        parser.add_argument(
            f"--{modality}",
            type=Path,
            metavar="PART",
            help=f"folder written by dvse train {modality}"
            + (", or a checkpoint with a tokenizer.json" if modality == "text" else ""),
        )
    parser.add_argument(
        "--bpe",
        type=Path,
        metavar="RUNS",
        help="folder written by dvse train bpe: recordings get fewer ids, which mean the same",
    )
    parser.add_argument("--base", metavar="BUNDLE", help="bundle to grow")
    parser.add_argument(
        "--allow-new-encoder",
        action="store_true",
        help="let a part bring another encoder under the codes of --base: files get other ids",
    )
    parser.add_argument("--name", help="what the bundle calls itself (default: the folder's name)")
    parser.add_argument(
        "--card",
        type=Path,
        metavar="FILE.md",
        help="what it was trained on, what it is for and what not",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Build, print what came out."""
    from pipelines.training.bundle_building import build_bundle

    parts = {m: folder for m in ("text", "image", "audio") if (folder := getattr(args, m))}
    card = args.card.read_text(encoding="utf-8") if args.card else ""
    with TemporaryDirectory() as scratch:
        if "text" in parts:
            parts["text"] = _text_part(parts["text"], Path(scratch))
        bundle = build_bundle(
            args.output,
            parts=parts,
            runs=args.bpe,
            name=args.name,
            base=args.base,
            allow_new_encoder=args.allow_new_encoder,
            card=card,
        )
    size = sum(p.stat().st_size for p in bundle.folder.rglob("*") if p.is_file())
    print(f"{bundle.name}: {bundle.vocabulary}")
    print(f"{size / 1e6:.1f} MB in {args.output}, fingerprint {bundle.fingerprint[:16]}")
    return 0


def _text_part(folder: Path, scratch: Path) -> Path:
    """Return the folder of the text part; of a published checkpoint one is made in `scratch`."""
    from pipelines.importing.text import import_text

    if (folder / "part.json").is_file() or not (folder / "tokenizer.json").is_file():
        return folder
    return import_text(folder, scratch / "text").folder
