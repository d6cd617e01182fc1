"""The Inception v3 of the FID, on torchvision's blocks.

It is not torchvision's network: the weights are TensorFlow's of 2015, means over a window leave the
border out, the last block takes maxima, and pictures are scaled as TensorFlow 1 did. Its features
are the 2,048 means before the classifier (Heusel et al. 2017); pytorch-fid and torch-fidelity
publish the weights under torchvision's names.
"""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dvse.errors import WeightsFormatError
from pipelines.evaluation.measures.judge_files import read_judge

_SIDE = 299


class InceptionFeatures(nn.Module):
    """Pictures `uint8 [N, 3, H, W]` to features `fp32 [N, 2048]`; `read` gives it its weights."""

    def __init__(self) -> None:
        from torchvision.models import inception

        super().__init__()
        blocks = [
            inception.BasicConv2d,
            _pooling(inception.InceptionA),
            inception.InceptionB,
            _pooling(inception.InceptionC),
            inception.InceptionD,
            _pooling(inception.InceptionE),
            inception.InceptionAux,
        ]
        with torch.device("meta"):  # random weights, to be written over, would take seconds
            network = inception.Inception3(
                aux_logits=False, init_weights=False, inception_blocks=blocks
            )
        network.Mixed_7c.pool = _maximum
        network.fc, network.dropout = nn.Identity(), nn.Identity()
        self.network = network.to_empty(device="cpu").eval().requires_grad_(False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read `pt_inception-2015-12-05-*.pth` or `weights-inception-2015-12-05-*.pth`.

        Raises:
            BundleNotFoundError, WeightsFormatError: no such file, or another one.
        """
        tensors = read_judge([path])
        if tensors.get("fc.bias", torch.zeros(1008)).shape != (1008,):
            raise WeightsFormatError(
                f"{path}: expected the Inception v3 of the FID, which tells 1,008 classes, not "
                f" {len(tensors['fc.bias'])}; torchvision's is another network"
            )
        found = cls()
        wanted = found.network.state_dict()
        # Files that are older than this counter of training steps do not have it.
        missing = [n for n in wanted if n not in tensors and not n.endswith("num_batches_tracked")]
        if missing:
            raise WeightsFormatError(
                f"{path}: expected the Inception v3 of the FID (pt_inception-2015-12-05-… or "
                f"weights-inception-2015-12-05-…), tensor {missing[0]!r} is missing"
            )
        try:
            found.network.load_state_dict(
                {name: tensors.get(name, value) for name, value in wanted.items()}
            )
        except RuntimeError as error:
            raise WeightsFormatError(f"{path}: {' '.join(str(error).split())[:200]}") from error
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the features of each picture."""
        return self.network((resized(pictures.float()) - 128) / 128)


def resized(pictures: Tensor) -> Tensor:
    """Scale `[N, C, H, W]` to 299 x 299 between neighbours, as `tf.image.resize_bilinear` of TF 1.

    Pixel `i` lies at `i * H / 299`: corners are not aligned, middles neither.

    >>> resized(torch.arange(598.0).reshape(1, 1, 598, 1).expand(1, 1, 598, 598))[0, 0, :3, 0]
    tensor([0., 2., 4.])
    """
    for axis in (2, 3):
        size = pictures.shape[axis]
        at = torch.arange(_SIDE, device=pictures.device) * torch.tensor(size / _SIDE)
        low = at.long()
        part = (at - low).reshape(-1, *([1] * (3 - axis)))
        one = pictures.index_select(axis, low)
        other = pictures.index_select(axis, (low + 1).clamp_max(size - 1))
        pictures = one + (other - one) * part
    return pictures


def _pooling(block: Any) -> Any:
    """A block of torchvision whose last branch pools with `pool`, a mean without the border."""

    class Pooling(block):
        pool = staticmethod(_mean)

        def _forward(self, hidden: Tensor) -> list[Tensor]:
            return [*super()._forward(hidden)[:-1], self.branch_pool(self.pool(hidden))]

    return Pooling


def _mean(hidden: Tensor) -> Tensor:
    return F.avg_pool2d(hidden, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(hidden: Tensor) -> Tensor:
    return F.max_pool2d(hidden, 3, stride=1, padding=1)
