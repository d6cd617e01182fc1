"""How near rebuilt pictures come to their originals: PSNR, SSIM, and with weights LPIPS and rFID.

The networks that judge come from files that are given; what is not given is not measured, and the
figures say so. An rFID depends on how many pictures it is of (few make it larger), so their number
stands beside it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dvse.errors import TrainingError
from dvse.storage.file_hash import file_sha256
from pipelines.evaluation.measures.frechet import frechet_distance
from pipelines.evaluation.measures.inception import InceptionFeatures
from pipelines.evaluation.measures.lpips import Lpips
from pipelines.evaluation.measures.picture_quality import psnr_db, ssim

_AT_ONCE = 16


class PictureJudge:
    """The networks that judge, loaded once.

    Args:
        lpips: files of LPIPS' weights, see `Lpips.read`; none where it is not measured.
        rfid: file of the FID's Inception v3; `None` where it is not measured.
        device: where they compute.

    Raises:
        BundleNotFoundError, WeightsFormatError: files that are not there, or others.
    """

    def __init__(
        self, *, lpips: Sequence[Path] = (), rfid: Path | None = None, device: str = "cpu"
    ) -> None:
        self._device = device
        self._lpips = Lpips.read(lpips).to(device) if lpips else None
        self._inception = None if rfid is None else InceptionFeatures.read(rfid).to(device)
        paths = [*lpips, *([] if rfid is None else [rfid])]
        self._files = {path.name: file_sha256(path) for path in paths}

    def figures(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
        """Return what there is to say of originals and rebuilt pictures, `uint8 [H, W, 3]` each.

        Raises:
            TrainingError: an rFID of fewer than two pictures.
        """
        originals, rebuilt = (list(side) for side in zip(*pairs, strict=True))
        similar = [ssim(a, b) for a, b in zip(originals, rebuilt, strict=True)]
        figures: dict[str, Any] = {
            "psnr_db": round(psnr_db(originals, rebuilt), 3),
            "ssim": round(float(np.mean(similar)), 4),
        }
        missing = {}
        batches = list(_batches(originals, rebuilt))
        if self._lpips is None:
            missing["lpips"] = "--lpips was not given"
        else:
            found = [self._lpips(*self._tensors(a, b)).cpu().numpy() for a, b in batches]
            figures |= {
                "lpips": _rounded(np.concatenate(found).mean()),
                "lpips_of": self._lpips.net,
            }
        if self._inception is None:
            missing["rfid"] = "--rfid was not given"
        elif len(originals) < 2:
            raise TrainingError("an rFID needs two pictures at least, received one")
        else:
            features = [
                [self._inception(t).cpu().numpy() for t in self._tensors(a, b)] for a, b in batches
            ]
            sides = (np.concatenate(side) for side in zip(*features, strict=True))
            figures |= {"rfid": _rounded(frechet_distance(*sides)), "rfid_pictures": len(originals)}
        if self._files:
            figures["judged_by"] = self._files
        return {**figures, "not_measured": missing} if missing else figures

    def _tensors(self, *sides: Sequence[np.ndarray]) -> list[Tensor]:
        stacks = [torch.from_numpy(np.stack(side)).permute(0, 3, 1, 2) for side in sides]
        return [stack.to(self._device) for stack in stacks]


def _batches(
    originals: Sequence[np.ndarray], rebuilt: Sequence[np.ndarray]
) -> Iterable[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Yield pairs of one size, some at a time."""
    by_size: dict[Any, list[int]] = {}
    for place, picture in enumerate(originals):
        by_size.setdefault(picture.shape, []).append(place)
    for places in by_size.values():
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            yield [originals[i] for i in some], [rebuilt[i] for i in some]


def _rounded(value: float) -> float:
    return round(float(value), 4)
