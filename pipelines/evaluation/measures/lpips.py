"""LPIPS: how different two pictures look to the features of an image classifier.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
equation 1, in version 0.1 of the authors' package: five layers of AlexNet or VGG16, each feature
scaled to length one, squared differences weighted by a linear layer, means over places added up.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from dvse.errors import ConfigError, WeightsFormatError
from pipelines.evaluation.measures.judge_files import read_judge

_LAYERS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
_FEWEST_PIXELS = {"alex": 31, "vgg": 16}
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_TINY = 1e-10


class Lpips(nn.Module):
    """The measure; `read` gives it its weights.

    Args:
        net: `alex` or `vgg`.

    Attributes:
        net: which.
    """

    def __init__(self, net: str) -> None:
        from torchvision.models import alexnet, vgg16

        super().__init__()
        self.net = net
        make = {"alex": alexnet, "vgg": vgg16}[net]
        with torch.device("meta"):  # random weights, to be written over, would take seconds
            features = make(weights=None).features[: _LAYERS[net][-1] + 1]
        self.features = features.to_empty(device="cpu")
        for module in self.features:  # a layer's output is kept, so the next must not overwrite it
            if isinstance(module, nn.ReLU):
                module.inplace = False
        widths = [_width(self.features, last) for last in _LAYERS[net]]
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(n)) for n in widths)
        self.eval().requires_grad_(False)

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Self:
        """Read weights: torchvision's AlexNet or VGG16 and the package's linear layers.

        Args:
            paths: two files, or one that holds both (the `state_dict` of the package's `LPIPS`).

        Raises:
            BundleNotFoundError, WeightsFormatError: files that are not there, or others.
        """
        tensors = read_judge(paths)
        convolutions = {k.split(".", 2)[2]: v for k, v in tensors.items() if k.startswith("net.")}
        if not convolutions:
            convolutions = {
                k.removeprefix("features."): v
                for k, v in tensors.items()
                if k.startswith("features.")
            }
        net = "alex" if "10.weight" in convolutions and "2.weight" not in convolutions else "vgg"
        found = cls(net)
        where = " and ".join(map(str, paths))
        try:
            wanted = found.features.state_dict()
            found.features.load_state_dict({name: convolutions[name] for name in wanted})
            for number, weight in enumerate(found.weights):
                weight.copy_(_linear(tensors, number).reshape(weight.shape))
        except (KeyError, RuntimeError) as error:
            raise WeightsFormatError(
                f"{where}: expected torchvision's AlexNet or VGG16 (features.0.weight …) and the "
                "linear layers of LPIPS 0.1 for it (lin0.model.1.weight …), in one file or two; "
                f"{' '.join(str(error).split())[:120]}"
            ) from error
        return found

    def forward(self, some: Tensor, others: Tensor) -> Tensor:
        """Return the distance of each pair, `fp32 [N]`, of pictures `uint8 [N, 3, H, W]`.

        Raises:
            ConfigError: pictures that are too small for the network.
        """
        fewest = _FEWEST_PIXELS[self.net]
        if min(some.shape[-2:]) < fewest:
            raise ConfigError(
                f"LPIPS with {self.net} needs pictures of {fewest} pixels a side at least, "
                f"received {some.shape[-2]}x{some.shape[-1]}"
            )
        total = torch.zeros(len(some), device=some.device)
        ours, theirs = (self._unit(one) for one in (some, others))
        for weight, a, b in zip(self.weights, ours, theirs, strict=True):
            total += ((a - b).square() * weight[:, None, None]).sum(1).mean((1, 2))
        return total

    def _unit(self, pictures: Tensor) -> list[Tensor]:
        """Features of each layer `[N, width, h, w]`, of length one at each place."""
        shift, scale = (pictures.new_tensor(c, dtype=torch.float32) for c in (_SHIFT, _SCALE))
        hidden = pictures.float() / 127.5 - 1
        hidden = (hidden - shift[:, None, None]) / scale[:, None, None]
        found = []
        for place, module in enumerate(self.features):
            hidden = module(hidden)
            if place in _LAYERS[self.net]:
                found.append(hidden / (hidden.norm(dim=1, keepdim=True) + _TINY))
        return found


def _linear(tensors: Mapping[str, Tensor], number: int) -> Tensor:
    for name in (f"lin{number}.model.1.weight", f"lin{number}.model.0.weight"):
        if name in tensors:
            return tensors[name]
    raise KeyError(f"lin{number}.model.1.weight")


def _width(features: nn.Sequential, last: int) -> int:
    return [m.out_channels for m in features[: last + 1] if isinstance(m, nn.Conv2d)][-1]
