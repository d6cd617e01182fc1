"""`dvse mix`."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvse.dataset.mixture import Mixture, MixturePart

HELP = """\
Say what a mixture of token shards will hold, before a GPU is booked.

SET is DIR:SHARE, or DIR@MODALITY:SHARE for the rows of one modality (text, image, audio, mixed).
dvse.Mixture with the same sets, shares and ids gives exactly this."""
EXAMPLES = """\
  dvse mix books:0.7 speech:0.3
  dvse mix books:0.7 speech:0.3 --ids 20e9 --length 4096
  dvse mix tokens@image:1 tokens@text:1 --by samples"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("sets", nargs="+", metavar="SET")
    parser.add_argument(
        "--by",
        default="tokens",
        metavar="MEASURE",
        help="what shares are of: tokens or samples (default: %(default)s)",
    )
    parser.add_argument(
        "--ids",
        type=float,
        metavar="N",
        help="ids of the training, such as 20e9 (default: as many as the sets have together)",
    )
    parser.add_argument(
        "--length", type=int, default=2048, metavar="T", help="ids a window (default: %(default)s)"
    )
    parser.add_argument(
        "--keep-whole", action="store_true", help="cut no document that fits into a window"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from dvse.dataset.mixture import Mixture

    mixture = Mixture(
        [_part(text) for text in args.sets],
        by=args.by,
        num_ids=None if args.ids is None else int(args.ids),
        length=args.length,
        keep_whole=args.keep_whole,
    )
    for line in _lines(mixture):
        print(line)
    return 0


def _part(text: str) -> "MixturePart":
    from dvse.dataset.mixture import MixturePart
    from dvse.errors import ConfigError

    where, _, share = text.rpartition(":")
    folder, _, modality = where.rpartition("@")
    try:
        return MixturePart(
            tokens=folder or where, share=float(share), modalities=(modality,) if folder else None
        )
    except ValueError:
        raise ConfigError(f"expected DIR:SHARE, received {text!r}") from None


def _lines(mixture: "Mixture") -> list[str]:
    columns = ("share", "documents", "ids", "windows", "ids in it", "epochs")
    names = [_name(count.part) for count in mixture.counts()]
    width = max(len(name) for name in names) + 2
    lines = [f"{'':{width}}" + "".join(f"{name:>16}" for name in columns)]
    for name, count in zip(names, mixture.counts(), strict=True):
        lines.append(
            f"{name:{width}}{count.share:16.1%}{count.num_documents:16,}{count.num_ids:16,}"
            f"{count.num_windows:16,}{count.num_ids_read:16,}{count.epochs:16.2f}"
        )
    by_modality = mixture.ids_by_modality()
    total = sum(by_modality.values())
    shares = (f"{name} {n:,} ({n / total:.1%})" for name, n in by_modality.items())
    return [*lines, f"ids by modality: {', '.join(shares)}"]


def _name(part: "MixturePart") -> str:
    return str(part.tokens) + "".join(f"@{modality}" for modality in part.modalities or ())
