"""`dvse train image`: pictures in, an image part out."""

import argparse
from pathlib import Path

from pipelines.started_processes import started_processes

HELP = "train an image codebook on pictures"
EXAMPLES = """\
dvse train image --data cifar10.parquet --rows 0:45000 --validation-rows 45000:50000 \\
    --label-column label --label-weight 0.1 --output runs/image
dvse train image --data photos/ --picture-size 64 --quantizer fsq --lattice 8,5,5,5 --output runs/f
dvse train image --data photos/ --picture-size 112 --stem-widths 24,48,96 --num-codes 8192 \\
    --code-dim 32 --teacher vit_base_patch16_clip_224 --teacher-weights clip.safetensors \\
    --output runs/distilled                                # codes that rebuild CLIP's features
dvse train image --data photos/ --picture-size 224 --encoder vit_small_patch16_224 --layer 8 \\
    --frozen-weights vit.safetensors --num-codes 2000 --output runs/clusters    # k-means alone
dvse train image --data cifar10.parquet --rows 0:45000 --start tiny --depth 3 --epochs 4 \\
    --label-column label --label-weight 0.5 --output runs/better      # ids keep their meaning
accelerate launch --num-processes 4 -m pipelines.cli train image --data photos/ --precision bf16 \\
    --batch-size 512 --checkpoint-steps 1000 --resume --output runs/photos
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; the defaults are the recipe of the shipped `tiny`."""
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, help="Parquet file or folder of pictures")
    data.add_argument("--rows", default=":", metavar="START:STOP", help="rows or files to train on")
    data.add_argument(
        "--validation-rows", metavar="START:STOP", help="rows or files to measure on, never trained"
    )
    data.add_argument("--image-column", default="image")
    data.add_argument("--label-column", help="classes, for --label-weight")
    data.add_argument("--data-licence", default="", help="recorded with the part")
    data.add_argument("--picture-size", type=int, default=32, help="side in pixels for training")

    shape = parser.add_argument_group("tokenizer")
    shape.add_argument(
        "--start",
        metavar="PART|BUNDLE",
        help="train this one's encoder on (--depth may be larger); its codes stay as they are",
    )
    shape.add_argument(
        "--new-encoder",
        action="store_true",
        help="with --start: take its codes only, for an encoder of any shape that begins anew",
    )
    shape.add_argument(
        "--quantizer",
        choices=["cosine", "ema", "simvq", "fsq"],
        default="cosine",
        help="codebook of moving averages by angle or by distance, SimVQ, or a lattice (FSQ)",
    )
    shape.add_argument("--num-codes", type=int, default=1024, help="of each level")
    shape.add_argument("--num-levels", type=int, default=1, help="residual levels")
    shape.add_argument(
        "--lattice", type=_numbers, default=(), metavar="N,N", help="of fsq: values of each channel"
    )
    shape.add_argument("--code-dim", type=int, default=16, help="width in which codes are compared")
    shape.add_argument("--max-tokens", type=int, default=256, help="budget for larger pictures")
    shape.add_argument("--encoder", default="vit_small_patch16_rope_224", help="a timm ViT")
    shape.add_argument("--stem-widths", type=_numbers, default=(32, 48), metavar="N,N")
    shape.add_argument(
        "--stem-top", type=int, default=0, help="a deeper stem that pools: width at the grid"
    )
    shape.add_argument("--dim", type=int, default=128)
    shape.add_argument("--depth", type=int, default=2)
    shape.add_argument("--num-heads", type=int, default=4)
    shape.add_argument("--decoder-widths", type=_numbers, default=(128, 48, 24), metavar="N,N,N")
    shape.add_argument("--decoder-blocks", type=int, default=0)

    teacher = parser.add_argument_group("teacher: rebuild its features instead of pixels (VQ-KD)")
    teacher.add_argument("--teacher", metavar="NAME", help="a timm ViT, frozen")
    teacher.add_argument("--teacher-weights", type=Path, metavar="FILE", help="its safetensors")
    teacher.add_argument("--teacher-layer", type=int, default=-1)

    frozen = parser.add_argument_group("k-means over a frozen encoder's features (no network)")
    frozen.add_argument(
        "--frozen-weights", type=Path, metavar="FILE", help="safetensors of the --encoder"
    )
    frozen.add_argument("--layer", type=int, default=-1, help="block that is clustered")
    frozen.add_argument("--mode", choices=["lloyd", "minibatch", "faiss"], default="lloyd")
    frozen.add_argument("--max-features", type=int, default=100_000, help="sample in memory")
    frozen.add_argument(
        "--keep-features", action="store_true", help="all features, from files in OUTPUT/features"
    )
    frozen.add_argument("--num-passes", type=int, default=10, help="most passes over the features")

    loop = parser.add_argument_group("training")
    loop.add_argument("--epochs", type=int, default=4)
    loop.add_argument("--batch-size", type=int, default=64)
    loop.add_argument(
        "--accumulate", type=int, default=1, help="parts that a batch is taken in, to fit in memory"
    )
    loop.add_argument("--precision", choices=["no", "bf16", "fp16"], default="no")
    loop.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    loop.add_argument("--learning-rate", type=float, default=2e-3)
    loop.add_argument("--warmup-steps", type=int, default=200)
    loop.add_argument("--label-weight", type=float, default=0.0)
    loop.add_argument("--label-smoothing", type=float, default=0.0)
    loop.add_argument("--mosaic-share", type=float, default=0.25)
    loop.add_argument(
        "--decoded-share", type=float, default=1.0, help="share of a batch decoded to pixels"
    )
    loop.add_argument(
        "--hard-from", type=float, default=0.0, help="share of the run before codes set in"
    )
    loop.add_argument("--hard-by", type=float, default=0.0, help="share by which only codes count")
    loop.add_argument("--seed", type=int, default=0)
    loop.add_argument("--threads", type=int, default=2, help="part of what makes a run repeatable")
    loop.add_argument(
        "--checkpoint-steps", type=int, default=0, help="steps between checkpoints within an epoch"
    )
    loop.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="folder for the part")


def run(args: argparse.Namespace) -> int:
    """Train and write the part; return the exit code."""
    if args.frozen_weights is not None:
        return _run_frozen(args)
    from pipelines.image_recipe import ImageRecipe, train_image

    part = train_image(
        ImageRecipe(
            data=args.data,
            start=args.start,
            new_encoder=args.new_encoder,
            rows=args.rows,
            validation_rows=args.validation_rows,
            image_column=args.image_column,
            label_column=args.label_column,
            data_licence=args.data_licence,
            picture_size=args.picture_size,
            quantizer=args.quantizer,
            num_codes=args.num_codes,
            code_dim=args.code_dim,
            num_levels=args.num_levels,
            lattice=args.lattice,
            max_tokens=args.max_tokens,
            encoder=args.encoder,
            stem_widths=args.stem_widths,
            stem_top=args.stem_top,
            dim=args.dim,
            depth=args.depth,
            num_heads=args.num_heads,
            decoder_widths=args.decoder_widths,
            decoder_blocks=args.decoder_blocks,
            teacher=args.teacher,
            teacher_weights=args.teacher_weights,
            teacher_layer=args.teacher_layer,
            epochs=args.epochs,
            batch_size=args.batch_size,
            accumulate=args.accumulate,
            precision=args.precision,
            device=args.device,
            learning_rate=args.learning_rate,
            warmup_steps=args.warmup_steps,
            label_weight=args.label_weight,
            label_smoothing=args.label_smoothing,
            mosaic_share=args.mosaic_share,
            decoded_share=args.decoded_share,
            hard_from=args.hard_from,
            hard_by=args.hard_by,
            checkpoint_steps=args.checkpoint_steps,
            seed=args.seed,
            threads=args.threads,
        ),
        args.output,
        resume=args.resume,
    )
    if not part.spec:  # another process than the one that writes
        return 0
    print(f"{part.folder}: {part.metrics or 'not measured, there are no validation rows'}")
    return 0


def _run_frozen(args: argparse.Namespace) -> int:
    import logging

    from dvse.errors import ConfigError
    from pipelines.frozen_image_training import FrozenImageRecipe, train_frozen_image
    from pipelines.kmeans import KMeansSettings
    from pipelines.unit_clustering import Clustering

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.start is not None:
        raise ConfigError("k-means over a frozen encoder starts from no part; leave --start out")
    device = "cpu" if args.device == "auto" else args.device
    clustering = Clustering(
        kmeans=KMeansSettings(
            num_codes=args.num_codes,
            num_levels=args.num_levels,
            num_passes=args.num_passes,
            seed=args.seed,
        ),
        mode=args.mode,
        options={"device": device} if args.mode == "lloyd" else {},
        max_frames=args.max_features,
        keep_features=args.keep_features,
    )
    recipe = FrozenImageRecipe(
        data=args.data,
        rows=args.rows,
        validation_rows=args.validation_rows,
        image_column=args.image_column,
        data_licence=args.data_licence,
        encoder=args.encoder,
        weights=args.frozen_weights,
        layer=args.layer,
        picture_size=args.picture_size,
        clustering=clustering,
        threads=args.threads,
    )
    with started_processes(device) as is_first:
        part = train_frozen_image(recipe, args.output)
        if is_first:
            print(f"{part.folder}: {part.metrics or 'not measured, there are no validation rows'}")
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(",") if number)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected numbers with commas between, for example 32,48; received {text!r}"
        ) from None
