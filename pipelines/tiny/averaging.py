"""The mean of decoders that come from one another: weights between two trainings.

    python -m pipelines.tiny.averaging CHECKPOINT MODEL... --output DIR

What has learnt something new and what still knows the old often meet half-way, where both is known
(Wortsman et al. 2022, "Model soups").
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from model.errors import TensorShapeError

_WEIGHTS = "model.safetensors"


def average(models: Sequence[Path], output: Path) -> Path:
    """Write the mean of the models' weights; all else is the first one's.

    Args:
        models: folders with `model.safetensors`. What the first has alone, such as a training's own
            heads, stays as it is.
        output: a folder that is written anew.

    Raises:
        TensorShapeError: tensors of other shapes, or one that the first does not have.
    """
    first, *others = (load_file(folder / _WEIGHTS) for folder in models)
    total = {name: tensor.double() for name, tensor in first.items()}
    shared = set(first)
    for folder, weights in zip(models[1:], others, strict=True):
        for name, tensor in weights.items():
            if name not in first or tensor.shape != first[name].shape:
                raise TensorShapeError(
                    f"{folder}: expected the tensors of {models[0]}, received {name} "
                    f"{list(tensor.shape)}; average decoders of one shape"
                )
            total[name] += tensor.double()
        shared &= set(weights)
    mean = {
        name: (total[name] / len(models)).to(first[name].dtype) if name in shared else first[name]
        for name in first
    }
    if output.exists():
        shutil.rmtree(output)
    shutil.copytree(models[0], output, ignore=shutil.ignore_patterns("*.pt", "*.pth", "*.bin"))
    save_file(mean, output / _WEIGHTS, metadata={"format": "pt"})
    return output


def main() -> int:
    """Average model directories."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(average(args.models, args.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
