import math

import numpy as np
import pytest

from dvse.errors import BundleFormatError, ConfigError
from dvse.image.decode_limits import DecodeLimits
from dvse.image.decoding import decode_picture
from dvse.image.geometry import (
    AreaGeometry,
    AspectGeometry,
    CropGeometry,
    SquareGeometry,
    geometry_from_dict,
    geometry_to_dict,
)


@pytest.mark.parametrize(
    ("width", "height", "grid"),
    [
        (32, 32, (8, 8)),
        (64, 64, (16, 16)),
        (64, 32, (8, 16)),
        (1, 1, (1, 1)),
        (3, 3, (1, 1)),
        (33, 34, (9, 8)),  # 8.25 and 8.5 patches, halves rounded up
        (500, 375, (14, 18)),
        (375, 500, (18, 14)),
        (4000, 3000, (14, 18)),
        (4, 400, (100, 1)),
        (10_000, 100, (2, 128)),  # 160 columns, but a side states at most 128
    ],
)
def test_aspect_grids(width, height, grid):
    geometry = AspectGeometry(patch_size=4, max_tokens=256)
    placement = geometry.place(width, height)
    assert placement.grid == grid
    assert placement.size == (placement.grid[1] * 4, placement.grid[0] * 4)
    assert placement.box == (0, 0, width, height)


def test_aspect_never_passes_the_budget_and_keeps_the_aspect():
    geometry = AspectGeometry(patch_size=4, max_tokens=256)
    for width in (1, 7, 31, 64, 65, 100, 333, 1024, 5000):
        for height in (1, 5, 32, 63, 64, 66, 200, 999, 4096):
            rows, columns = geometry.place(width, height).grid
            assert 1 <= rows * columns <= 256
            assert columns * 4 < width + 4 and rows * 4 < height + 4  # grows to whole patches only
            if min(width, height) >= 32 and max(width, height) < 4 * min(width, height):
                error = math.log(columns / rows) - math.log(width / height)
                assert abs(error) < 0.2


def test_aspect_turned_picture_gets_the_turned_grid():
    geometry = AspectGeometry(patch_size=16, max_tokens=196)
    for width, height in [(500, 375), (640, 480), (1000, 30), (17, 900)]:
        rows, columns = geometry.place(width, height).grid
        assert geometry.place(height, width).grid == (columns, rows)


def test_square_takes_the_centre():
    assert SquareGeometry(size=4, patch_size=2).place(10, 4).box == (3, 0, 7, 4)
    assert SquareGeometry(size=4, patch_size=2).place(4, 11).box == (0, 3.5, 4, 7.5)
    assert SquareGeometry(size=4, patch_size=2).fixed_grid == (2, 2)


@pytest.mark.parametrize(
    "geometry", [SquareGeometry(size=8, patch_size=4), AspectGeometry(patch_size=4, max_tokens=9)]
)
def test_description_round_trip(geometry):
    assert geometry_from_dict(geometry_to_dict(geometry)) == geometry


@pytest.mark.parametrize(
    "description",
    [
        None,
        [],
        {},
        {"kind": "round"},
        {"kind": ["square"]},
        {"kind": "square", "size": 8},
        {"kind": "square", "size": 8, "patch_size": 3},
        {"kind": "square", "size": "8", "patch_size": 4},
        {"kind": "aspect", "patch_size": 4, "max_tokens": 0},
        {"kind": "aspect", "patch_size": 4, "max_tokens": 9, "colour": 1},
    ],
)
def test_wrong_descriptions_are_refused(description):
    with pytest.raises(BundleFormatError):
        geometry_from_dict(description)


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="patch_size"):
        AspectGeometry(patch_size=True, max_tokens=4)


@pytest.mark.parametrize(
    "size", [(500, 375), (375, 500), (37, 37), (257, 256), (33, 1000), (999, 998), (61, 90)]
)
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (37, 32), (255, 224), (256, 256)])
def test_crop_keeps_the_pixels_that_torchvision_keeps(size, resize, crop):
    from PIL import Image as PilImage
    from torchvision import transforms

    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    bicubic = transforms.InterpolationMode.BICUBIC
    wanted = transforms.CenterCrop(crop)(
        transforms.Resize(resize, bicubic)(PilImage.fromarray(noise))
    )
    geometry = CropGeometry(resize=resize, size=crop, patch_size=crop // 2)
    pixels, placement = decode_picture(noise, geometry.place, DecodeLimits())
    assert (pixels == np.asarray(wanted)).all()
    assert placement.grid == geometry.fixed_grid == (2, 2)


def test_a_crop_sees_every_pixel_of_a_jpeg():
    """No draft: what Pillow decodes whole is what is resized."""
    import io

    from PIL import Image as PilImage

    noise = np.random.default_rng(0).integers(0, 256, (800, 900, 3), dtype=np.uint8)
    file = io.BytesIO()
    PilImage.fromarray(noise).save(file, "JPEG", quality=80)
    whole = np.asarray(PilImage.open(file))
    geometry = CropGeometry(resize=40, size=32, patch_size=16, resample="lanczos")
    pixels, _ = decode_picture(file.getvalue(), geometry.place, DecodeLimits())
    again, _ = decode_picture(whole, geometry.place, DecodeLimits())
    assert (pixels == again).all()
    drafted, _ = decode_picture(
        file.getvalue(), SquareGeometry(size=32, patch_size=16).place, DecodeLimits()
    )
    assert drafted.shape == pixels.shape


@pytest.mark.parametrize(
    "geometry",
    [
        CropGeometry(resize=256, size=224, patch_size=16, num_latents=32),
        AreaGeometry(patch_size=8, min_pixels=64, max_pixels=640, resample="bilinear"),
    ],
)
def test_published_geometries_as_json(geometry):
    assert geometry_from_dict(geometry_to_dict(geometry)) == geometry


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CropGeometry(resize=20, size=24, patch_size=8), "at most 20"),
        (lambda: CropGeometry(resize=30, size=24, patch_size=7), "7 divides"),
        (lambda: CropGeometry(resize=30, size=24, patch_size=8, resample="box"), "filter among"),
        (lambda: CropGeometry(resize=30, size=24, patch_size=8, num_latents=-1), "num_latents"),
        (lambda: AreaGeometry(patch_size=8, min_pixels=9, max_pixels=8), "min_pixels up to"),
        (lambda: AreaGeometry(patch_size=8, min_pixels=9, max_pixels=30), "room for a patch"),
    ],
)
def test_published_geometries_that_cannot_be(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_area_keeps_its_bounds():
    geometry = AreaGeometry(patch_size=8, min_pixels=64 * 64, max_pixels=96 * 96)
    for width in (1, 9, 64, 97, 333, 1000):
        for height in (width, 2 * width, 3 * width + 1):
            placed = geometry.place(width, height).size
            assert placed[0] % 8 == placed[1] % 8 == 0
            assert 64 * 64 <= placed[0] * placed[1] <= 96 * 96
