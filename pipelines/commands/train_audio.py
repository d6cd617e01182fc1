"""`dvse train audio`: recordings in, an audio part out."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.codebooks.clustering import Clustering

HELP = "train speech units: cluster a layer of a speech encoder"
EXAMPLES = """\
dvse train audio --data recordings/ --encoder facebook/hubert-base-ls960 --layer 6 \\
    --num-codes 500 --output runs/audio
dvse train audio --data recordings/ --encoder hubert/ --num-codes 2000 --num-levels 4 \\
    --keep-features --mode minibatch --output runs/audio   # all frames, from disk
torchrun --nproc-per-node 2 -m pipelines.cli train audio --data recordings/ --encoder hubert/ \\
    --device cuda --output runs/audio                      # several GPUs or nodes
dvse train audio --data fsdd/ --output runs/audio          # trains a small encoder as well
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
    units.add_argument("--num-codes", type=int, default=200, help="of each level")
    units.add_argument(
        "--max-frames", type=int, default=100_000, help="size of the sample that is clustered"
    )
    units.add_argument(
        "--window-s", type=float, help="window over long recordings (default: 30; small: 1.28)"
    )
    units.add_argument(
        "--hop-s", type=float, help="from one window to the next (default: 25; small: 0.8)"
    )
    units.add_argument(
        "--merge-repeats", action="store_true", help="a run of equal units becomes one"
    )

    kmeans = parser.add_argument_group("k-means (with --encoder)")
    kmeans.add_argument(
        "--mode",
        choices=["lloyd", "minibatch", "faiss"],
        default="lloyd",
        help="torch Lloyd on CPU or GPUs, scikit-learn's MiniBatchKMeans, or faiss",
    )
    kmeans.add_argument("--num-levels", type=int, default=1, help="residual levels")
    kmeans.add_argument(
        "--keep-features",
        action="store_true",
        help="spill all frames to OUTPUT/features, and use them again when the command is repeated",
    )
    kmeans.add_argument("--num-passes", type=int, default=10, help="most passes over the frames")
    kmeans.add_argument("--initialization", choices=["kmeans++", "reservoir"], default="kmeans++")
    kmeans.add_argument("--device", default="cpu", help="of mode lloyd: cpu, cuda or cuda:N")
    kmeans.add_argument(
        "--bf16", action="store_true", help="of mode lloyd: products in bfloat16, sums exact"
    )

    small = parser.add_argument_group("small encoder (without --encoder; needs espeak-ng)")
    small.add_argument("--steps", type=int, default=3000)
    small.add_argument("--learning-rate", type=float, default=2e-3)
    small.add_argument(
        "--start", type=Path, metavar="PART", help="an audio part whose encoder is trained on"
    )
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

    from pipelines.training.audio.digit_units import train_digit_units
    from pipelines.training.audio.draft import UnitSettings
    from pipelines.training.audio.encoder import UnitEncoderTraining
    from pipelines.training.audio.units import train_units

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    layer, window_s, hop_s = (6, 30.0, 25.0) if args.encoder else (3, 1.28, 0.8)
    settings = UnitSettings(
        layer=layer if args.layer is None else args.layer,
        num_codes=args.num_codes,
        max_frames=args.max_frames,
        window_s=window_s if args.window_s is None else args.window_s,
        hop_s=hop_s if args.hop_s is None else args.hop_s,
        merge_repeats=args.merge_repeats,
        seed=args.seed,
    )
    if args.encoder:
        from pipelines.runs.processes import started_processes

        with started_processes(args.device) as is_first:
            part = train_units(
                args.data,
                args.output,
                encoder=args.encoder,
                revision=args.revision,
                sample_rate_hz=args.sample_rate_hz,
                settings=settings,
                clustering=_clustering(args),
            )
        if not is_first:
            return 0
    else:
        _check_small(args)
        part = train_digit_units(
            args.data[0],
            args.output,
            training=UnitEncoderTraining(
                steps=args.steps,
                learning_rate=args.learning_rate,
                longest_s=settings.window_s,
                seed=args.seed,
            ),
            start=args.start,
            hours=args.hours,
            synthetic_share=args.synthetic_share,
            settings=settings,
        )
    print(f"{args.num_codes} units in {args.output}")
    for name, figure in part.metrics.items():
        if name != "how":
            print(f"  {name}: {figure}")
    return 0


def _clustering(args: argparse.Namespace) -> "Clustering":
    from dvse.errors import ConfigError
    from pipelines.codebooks.clustering import Clustering
    from pipelines.codebooks.kmeans import KMeansSettings

    options = {}
    if args.mode == "lloyd":
        options = {"device": args.device, "product": "bfloat16" if args.bf16 else "float32"}
    elif args.bf16 or args.device != "cpu":
        raise ConfigError(f"--device and --bf16 are of mode lloyd, received mode {args.mode}")
    return Clustering(
        kmeans=KMeansSettings(
            num_codes=args.num_codes,
            num_levels=args.num_levels,
            num_passes=args.num_passes,
            initialization=args.initialization,
            seed=args.seed,
        ),
        mode=args.mode,
        options=options,
        max_frames=args.max_frames,
        keep_features=args.keep_features,
    )


def _check_small(args: argparse.Namespace) -> None:
    from dvse.errors import ConfigError

    if args.keep_features or args.num_levels != 1 or args.mode != "lloyd":
        raise ConfigError("--mode, --num-levels and --keep-features need an --encoder")
