"""`dvse import units`: published centroids and their encoder in, an audio part out."""

import argparse
from pathlib import Path
from typing import Any

from dvse.errors import ConfigError
from pipelines.commands.answers import yes_or_no

HELP = """Make an audio part of published units: centroids, and the encoder they were learnt from.

Centroids: a k-means dump of fairseq, textlesslib, SpeechBrain or ESPnet (km.bin; read without
running it), .npy, safetensors, a torch file of one tensor, a faiss index. What decides units beside
weights has to be said, or a convention says it; an encoder's own files count as said."""
EXAMPLES = """\
  dvse import units --centroids km.bin --encoder facebook/hubert-base-ls960 --layer 6 \\
      --convention fairseq --output runs/units
  dvse import units --centroids km500.npy --encoder hubert_base_ls960.pt --layer 9 \\
      --convention textlesslib --normalize no --pre-norm no --output runs/units"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--centroids", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--encoder",
        required=True,
        metavar="NAME|DIR|FILE",
        help="a Hub name, a directory of transformers, or a file that dvse import encoder takes",
    )
    parser.add_argument("--revision", help="of a Hub name: a commit, tag or branch")
    parser.add_argument(
        "--layer", type=int, required=True, help="as hidden_states[N] of transformers counts"
    )
    parser.add_argument(
        "--sample-rate-hz",
        type=int,
        metavar="N",
        help="of the encoder (default: what its files say, else 16000)",
    )
    parser.add_argument(
        "--licence", default="", help="of the weights; recorded and shown by inspect"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    units = parser.add_argument_group("what decides units (each goes before the convention)")
    units.add_argument(
        "--convention",
        choices=["fairseq", "textlesslib", "seamless", "transformers", "slamkit"],
        help="the code whose units these are",
    )
    units.add_argument(
        "--normalize",
        choices=["yes", "no", "file"],
        help="scale the input; file: yes, over the whole recording",
    )
    units.add_argument(
        "--normalize-over",
        choices=["recording", "window"],
        help="the whole recording before it is cut, or each chunk for itself",
    )
    units.add_argument("--variance-floor", type=float, metavar="X", help="1e-5 or 1e-7")
    units.add_argument(
        "--final-norm", type=yes_or_no, metavar="yes|no", help="of a pre-norm encoder's last layer"
    )
    units.add_argument("--pad-samples", type=int, metavar="N", help="zeros at each end")
    units.add_argument("--chunk-s", type=float, metavar="S", help="longer recordings are cut there")
    units.add_argument("--merge-repeats", type=yes_or_no, metavar="yes|no")
    facts = parser.add_argument_group("of an encoder file that does not say it")
    facts.add_argument("--pre-norm", type=yes_or_no, metavar="yes|no", help="base: no; large: yes")
    facts.add_argument(
        "--num-heads", type=int, metavar="N", help="up to 1,024 channels 64 each by default"
    )


def run(args: argparse.Namespace) -> int:
    """Import, say what came out."""
    from pipelines.importing.encoder import EncoderFacts
    from pipelines.importing.units import UnitSettings, import_units

    normalize, over = _normalization(args.normalize, args.normalize_over)
    part = import_units(
        args.output,
        centroids=args.centroids,
        encoder=args.encoder,
        layer=args.layer,
        convention=args.convention,
        settings=UnitSettings(
            normalize=normalize,
            normalize_over=over,
            variance_floor=args.variance_floor,
            final_norm=args.final_norm,
            pad_samples=args.pad_samples,
            chunk_s=args.chunk_s,
            merge_repeats=args.merge_repeats,
        ),
        facts=EncoderFacts(pre_norm=args.pre_norm, num_heads=args.num_heads),
        revision=args.revision,
        sample_rate_hz=args.sample_rate_hz,
        licence=args.licence,
    )
    centroids = part.provenance["centroids"]
    print(f"{part.folder}: units from {centroids['file']} ({centroids['kind']})")
    return 0


def _normalization(said: str | None, over: Any) -> tuple[bool | None, Any]:
    """Whether the input is scaled, and over what; `None` where nobody has said it."""
    if said != "file":
        return None if said is None else yes_or_no(said), over
    if over == "window":
        raise ConfigError("--normalize file scales the whole recording; leave --normalize-over")
    return True, "recording"
