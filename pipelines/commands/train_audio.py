"""`dvse train audio`: recordings in, an audio part out."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.fields import add_flags, from_flags
from pipelines.settings import settings_of
from pipelines.training.audio.settings import (
    DigitUnitRecipe,
    ExtensionRecipe,
    FeaturePlace,
    UnitRecipe,
)

if TYPE_CHECKING:
    from dvse.storage.part import Part

HELP = "train speech units: cluster a layer of a speech encoder, or learn more units for a part"
EXAMPLES = """\
dvse train audio --data recordings/ --encoder facebook/hubert-base-ls960 --layer 6 \\
    --num-codes 500 --output runs/audio
dvse train audio --data recordings/ --encoder hubert/ --num-codes 2000 --num-levels 4 \\
    --keep-features --mode minibatch --output runs/audio   # all frames, from disk
torchrun --nproc-per-node 2 -m pipelines.cli train audio --data recordings/ --encoder hubert/ \\
    --device cuda --output runs/audio                      # several GPUs or nodes
dvse train audio --data s3://bucket/recordings --encoder hubert/ --engine ray --encode-on cuda \\
    --ray-address head:6379 --output runs/audio            # encoded on the GPUs of a Ray cluster
dvse train audio --data recordings/ --extend runs/audio --num-codes 1000 --output runs/bigger
# then: dvse build-bundle --base my-bundle --audio runs/bigger --output my-bundle-2
dvse train audio --data fsdd/ --output runs/audio          # trains a small encoder as well
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; the defaults without `--encoder` are the recipe of the shipped `tiny`."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    add_flags(parser, UnitRecipe, small=DigitUnitRecipe, more=ExtensionRecipe)


def run(args: argparse.Namespace) -> int:
    """Train and write the part; return the exit code."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.extend is not None:
        return _run_extension(args)
    return _run_published(args) if args.encoder else _run_small(args)


def _run_extension(args: argparse.Namespace) -> int:
    import torch

    from dvse.errors import ConfigError
    from pipelines.runs.processes import started_processes
    from pipelines.training.audio.extension import extend_units

    mine = {one.name for one in settings_of(ExtensionRecipe)}
    others = {one.name for cls in (UnitRecipe, DigitUnitRecipe) for one in settings_of(cls)} - mine
    if said := sorted(n for n in others if getattr(args, n, None) is not None):
        raise ConfigError(
            f"{_flag(said[0])} is decided by the part that --extend names; leave it out"
        )
    recipe = from_flags(ExtensionRecipe, args)
    torch.set_num_threads(recipe.threads)
    with started_processes(recipe.clustering.device) as is_first:
        part = extend_units(recipe, args.output)
    return _report(part, recipe.clustering.kmeans.num_codes) if is_first else 0


def _run_published(args: argparse.Namespace) -> int:
    import torch

    from pipelines.runs.processes import started_processes
    from pipelines.training.audio.units import train_units

    recipe = from_flags(UnitRecipe, args)
    torch.set_num_threads(recipe.threads)
    with started_processes(recipe.clustering.device) as is_first:
        part = train_units(recipe, args.output)
    return _report(part, recipe.clustering.kmeans.num_codes) if is_first else 0


def _run_small(args: argparse.Namespace) -> int:
    import torch

    from dvse.errors import ConfigError
    from pipelines.training.audio.digit_units import train_digit_units

    if (flag := _said(args, FeaturePlace)) is not None:
        raise ConfigError(f"{flag} needs an --encoder; a small one is trained and encodes here")
    recipe = from_flags(DigitUnitRecipe, args)
    torch.set_num_threads(recipe.threads)
    return _report(train_digit_units(recipe, args.output), recipe.clustering.kmeans.num_codes)


def _said(args: argparse.Namespace, settings: type) -> str | None:
    """The first flag of some settings that was given."""
    given = (one.name for one in settings_of(settings) if getattr(args, one.name) is not None)
    return next((_flag(name) for name in given), None)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _report(part: "Part", num_codes: int) -> int:
    print(f"{num_codes} units in {part.folder}")
    for name, figure in part.metrics.items():
        if name != "how":
            print(f"  {name}: {figure}")
    return 0
