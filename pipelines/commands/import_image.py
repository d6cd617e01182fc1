"""`dvse import image`: a published picture tokenizer in, an image part out."""

import argparse
from pathlib import Path

HELP = """Make an image part of a published picture tokenizer, without running what it holds.

BEiT v2's VQ-KD (.pth), TiTok (safetensors or .bin), the VQ models of Chameleon, Emu3 and Janus
(directories of transformers). Codes are those of the published code; what decides them beside
weights comes from that code or from the model's own files, or is asked for."""
EXAMPLES = """\
  dvse import image vqkd_encoder_base_decoder_1x768x12_clip-d93179da.pth --output runs/beit2
  dvse import image tokenizer_titok_l32_imagenet/ --output runs/titok
  dvse import image Janus-Pro-1B/ --resize 384 --size 384 --resample bicubic \\
      --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --output runs/janus"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", type=Path, metavar="FILE|DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--licence", default="", help="of the weights; recorded and shown by inspect"
    )
    codes = parser.add_argument_group("what decides codes (each goes before what files say)")
    codes.add_argument("--resize", type=int, metavar="N", help="pixels of the short side")
    codes.add_argument("--size", type=int, metavar="N", help="side of the square cut out of it")
    codes.add_argument("--resample", choices=["bilinear", "bicubic", "lanczos"])
    codes.add_argument("--mean", type=_three, metavar="R,G,B", help="of pixels in 0..1")
    codes.add_argument("--std", type=_three, metavar="R,G,B", help="of pixels in 0..1")
    codes.add_argument("--metric", choices=["euclidean", "cosine"])
    codes.add_argument("--num-heads", type=int, metavar="N", help="64 channels each by default")
    codes.add_argument("--min-pixels", type=int, metavar="N", help="of Emu3's pictures")
    codes.add_argument("--max-pixels", type=int, metavar="N", help="of Emu3's pictures")


def run(args: argparse.Namespace) -> int:
    """Import, say what came out."""
    from pipelines.importing.image import import_image
    from pipelines.importing.image_settings import OPTIONS, ImageSettings

    part = import_image(
        args.source,
        args.output,
        settings=ImageSettings(**{name: getattr(args, name) for name in OPTIONS}),
        licence=args.licence,
    )
    way_back = "with" if part.spec["decoder"] is not None else "without"
    print(f"{part.folder}: codes of {part.provenance['family']}, {way_back} a way back to pixels")
    return 0


def _three(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(one) for one in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3:
        raise argparse.ArgumentTypeError(
            f"expected three numbers with commas between, for example 0.5,0.5,0.5; received "
            f"{text!r}"
        )
    return values
