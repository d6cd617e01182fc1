"""`dvse import text`: a published text tokenizer in, a text part out."""

import argparse
from pathlib import Path

HELP = """Make a text part of a published tokenizer: a tokenizer.json (GLM-4's, for example) or a
SentencePiece model. Its ids and its special tokens stay; one that loses characters is refused."""
EXAMPLES = """\
  dvse import text glm-4-9b/tokenizer.json --output runs/text
  # then: dvse build-bundle --text runs/text --image runs/image --output my-bundle"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", type=Path, metavar="FILE|DIR")
    parser.add_argument(
        "--licence", default="", help="of the tokenizer; recorded and shown by inspect"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Import, say what came out."""
    from dvse.text.loading import load_text_tokenizer
    from pipelines.importing.text import import_text

    part = import_text(args.source, args.output, licence=args.licence)
    text = load_text_tokenizer(part.spec, part.folder)
    print(f"{part.folder}: {text.size:,} ids, {len(text.special_tokens)} special tokens of its own")
    return 0
