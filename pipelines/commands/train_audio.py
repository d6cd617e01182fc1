"""`dvse train audio`: recordings in, an audio part out."""

import argparse
from pathlib import Path

HELP = "train speech units: cluster a layer of a speech encoder"
EXAMPLES = """\
dvse train audio --data recordings/ --encoder facebook/hubert-base-ls960 --layer 6 \\
    --num-codes 500 --output runs/audio
dvse train audio --data fsdd/ --output runs/audio        # trains a small encoder as well
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; the defaults are the recipe of the shipped `tiny`."""
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="recordings or folders of them; without --encoder the folder of the Free Spoken "
        "Digit Dataset with its manifest.jsonl",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")

    units = parser.add_argument_group("units")
    units.add_argument(
        "--encoder",
        metavar="DIR_OR_HUB",
        help="a Wav2Vec2, HuBERT or WavLM of transformers; by default a small one is trained",
    )
    units.add_argument("--revision", help="of a Hub encoder: a commit, tag or branch")
    units.add_argument("--sample-rate-hz", type=int, default=16_000, help="of the --encoder")
    units.add_argument("--layer", type=int, help="hidden layer to cluster (default: 6; small: 3)")
    units.add_argument("--num-codes", type=int, default=200)
    units.add_argument(
        "--max-frames", type=int, default=100_000, help="size of the sample that is clustered"
    )
    units.add_argument("--window-s", type=float, default=30.0, help="window over long recordings")
    units.add_argument("--hop-s", type=float, default=25.0, help="from one window to the next")
    units.add_argument(
        "--merge-repeats", action="store_true", help="a run of equal units becomes one"
    )

    small = parser.add_argument_group("small encoder (without --encoder; needs espeak-ng)")
    small.add_argument("--steps", type=int, default=3000)
    small.add_argument("--hours", type=float, default=2.0, help="synthetic speech to train on")
    small.add_argument(
        "--synthetic-share",
        type=float,
        default=0.0,
        help="share of synthetic speech among the clustered frames",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--threads", type=int, default=1, help="part of what makes a run repeatable"
    )


def run(args: argparse.Namespace) -> int:
    """Train and write the part; return the exit code."""
    import logging

    import torch

    from pipelines.audio_training import UnitSettings, train_digit_units, train_units
    from pipelines.unit_encoder_training import UnitEncoderTraining

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    layer = args.layer if args.layer is not None else 6 if args.encoder else 3
    settings = UnitSettings(
        layer=layer,
        num_codes=args.num_codes,
        max_frames=args.max_frames,
        window_s=args.window_s,
        hop_s=args.hop_s,
        merge_repeats=args.merge_repeats,
        seed=args.seed,
    )
    if args.encoder:
        part = train_units(
            args.data,
            args.output,
            encoder=args.encoder,
            revision=args.revision,
            sample_rate_hz=args.sample_rate_hz,
            settings=settings,
        )
    else:
        part = train_digit_units(
            args.data[0],
            args.output,
            training=UnitEncoderTraining(steps=args.steps, seed=args.seed),
            hours=args.hours,
            synthetic_share=args.synthetic_share,
            settings=settings,
        )
    print(f"{args.num_codes} units in {args.output}")
    for name, figure in part.metrics.items():
        if name != "how":
            print(f"  {name}: {figure}")
    return 0
