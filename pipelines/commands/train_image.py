"""`dvse train image`: pictures in, an image part out."""

import argparse
from pathlib import Path

from pipelines.commands.fields import add_flags, from_flags
from pipelines.training.image.settings import FrozenImageRecipe, ImageRecipe

HELP = "train an image codebook on pictures; the defaults are the recipe of the shipped tiny"
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
dvse train image --data photos/ --label-column folder --label-weight 1 \\
    --context-widths 64,256,256 --output runs/told  # labels first, by a network beside
accelerate launch --num-processes 4 -m pipelines.cli train image --data photos/ --precision bf16 \\
    --batch-size 512 --checkpoint-steps 1000 --resume --output runs/photos
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_flags(parser, ImageRecipe, frozen=FrozenImageRecipe)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the part"
    )


def run(args: argparse.Namespace) -> int:
    """Train and write the part; return the exit code."""
    if args.frozen_weights is not None:
        return _run_frozen(args)
    from pipelines.training.image.recipe import train_image

    part = train_image(from_flags(ImageRecipe, args), args.output, resume=args.resume)
    if not part.spec:  # another process than the one that writes
        return 0
    print(f"{part.folder}: {part.metrics or 'not measured, there are no validation rows'}")
    return 0


def _run_frozen(args: argparse.Namespace) -> int:
    import logging

    from dvse.errors import ConfigError
    from pipelines.runs.processes import started_processes
    from pipelines.training.image.frozen import train_frozen_image

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.start is not None:
        raise ConfigError("k-means over a frozen encoder starts from no part; leave --start out")
    recipe = from_flags(FrozenImageRecipe, args)
    with started_processes(recipe.clustering.device) as is_first:
        part = train_frozen_image(recipe, args.output)
        if is_first:
            print(f"{part.folder}: {part.metrics or 'not measured, there are no validation rows'}")
    return 0
