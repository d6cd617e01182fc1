"""Decoding of JPEG files: Pillow, as DVSE does it, beside `torchvision.io`.

`ours` opens a file, lets libjpeg-turbo decode it at the smallest scale that is still large enough
(its draft mode) and brings it to 224x224; the peer decodes at full size by `torchvision.io` and
brings it to the same size with antialiasing. A second row decodes both at full size alone. One
thread each.
"""

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from bench_image import _jpegs
from PIL import Image as PilImage
from timing import Row, alternate
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms.v2.functional import resize

from dvse.image.decode_limits import DecodeLimits
from dvse.image.geometry import SquareGeometry
from dvse.image.preparer import ImagePreparer
from dvse.items import Image
from dvse.numerics import use_threads

_SIZES = {"500x375": (500, 375, 40), "12_megapixels": (4000, 3000, 6)}


def rows() -> Iterator[Row]:
    """Yield two rows a size."""
    preparer = ImagePreparer(
        geometry=SquareGeometry(size=224, patch_size=16), limits=DecodeLimits()
    )
    for name, (width, height, count) in _SIZES.items():
        with tempfile.TemporaryDirectory() as folder, use_threads(1):
            paths = _jpegs(Path(folder) / "in", count=count, width=width, height=height)
            _check(paths[0])

            def prepared(paths: list[Path] = paths) -> None:
                for path in paths:
                    list(preparer.prepare(Image(path)))

            def resized(paths: list[Path] = paths) -> None:
                for path in paths:
                    resize(_by_torchvision(path), [224, 224], antialias=True)

            def by_pillow(paths: list[Path] = paths) -> None:
                for path in paths:
                    _by_pillow(path)

            def by_torchvision(paths: list[Path] = paths) -> None:
                for path in paths:
                    _by_torchvision(path)

            for what, ours, peer in (
                ("to_224", prepared, resized),
                ("full_size", by_pillow, by_torchvision),
            ):
                pairs = alternate(ours, peer)
                yield Row(
                    name=f"decoding.{name}_{what}",
                    ours=count / pairs.ours,
                    peer=count / pairs.peer,
                    ratio=pairs.speedup,
                    unit="pictures/s",
                    note="one thread; peer: torchvision.io",
                )


def _by_pillow(path: Path) -> np.ndarray:
    with PilImage.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _by_torchvision(path: Path) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torchvision is to give it up
        return decode_jpeg(read_file(str(path)), mode=ImageReadMode.RGB)


def _check(path: Path) -> None:
    """Both decode the same picture, a level or two apart."""
    theirs = _by_torchvision(path).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(_by_pillow(path).astype(int) - theirs).mean() < 2
