import numpy as np
import pytest
import torch

from pipelines.training.image.mosaic import (
    MOSAICS,
    blank_some,
    cut_out,
    shift_and_mirror,
    tile,
    untile,
)


@pytest.mark.parametrize("tiles", [(1, 1), *MOSAICS])
def test_untile_undoes_tile(tiles):
    pictures = torch.randint(0, 255, (8, 4, 6, 3))
    assert torch.equal(untile(tile(pictures, tiles), tiles), pictures)


def test_pictures_left_over_are_dropped():
    assert tile(torch.zeros(7, 4, 4, 3), (2, 2)).shape == (1, 8, 8, 3)


def test_shift_and_mirror_moves_whole_windows():
    """Every result is a window of the reflected picture, mirrored or not; the seed decides."""
    pixels = np.arange(2 * 6 * 6, dtype=np.uint8).reshape(2, 6, 6, 1)
    moved = shift_and_mirror(pixels, np.random.default_rng(0), margin=2)
    assert np.array_equal(moved, shift_and_mirror(pixels, np.random.default_rng(0), margin=2))
    for picture, result in zip(pixels, moved, strict=True):
        padded = np.pad(picture, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        windows = [padded[y : y + 6, x : x + 6] for y in range(5) for x in range(5)]
        assert any(np.array_equal(result, w) or np.array_equal(result, w[:, ::-1]) for w in windows)
    many = shift_and_mirror(np.repeat(pixels, 50, 0), np.random.default_rng(1), margin=2)
    assert len(np.unique(many.reshape(100, -1), axis=0)) > 40


def test_blank_pictures_have_one_colour_and_the_others_are_untouched():
    pictures = torch.randint(0, 256, (300, 4, 4, 3), dtype=torch.uint8)
    changed, is_blank = blank_some(pictures, np.random.default_rng(0))
    assert 60 < int(is_blank.sum()) < 140  # each third one
    assert torch.equal(changed[~is_blank], pictures[~is_blank])
    blank = changed[is_blank]
    assert torch.equal(blank, blank[:, :1, :1].expand_as(blank))
    is_grey = (blank[:, 0, 0, :1] == blank[:, 0, 0]).all(1)
    assert 0.5 < float(is_grey.float().mean()) < 0.95


def test_a_square_of_each_picture_is_greyed_out():
    """What is grey is a square of three, or what of it lies inside; no place is spared."""
    pixels = np.full((400, 6, 8, 3), 7, np.uint8)
    found = cut_out(pixels, np.random.default_rng(0), side=3)
    assert set(np.unique(found)) == {7, 128}
    for picture in found == 128:
        rows, columns = np.flatnonzero(picture.any((1, 2))), np.flatnonzero(picture.any((0, 2)))
        assert 1 <= len(rows) <= 3 and 1 <= len(columns) <= 3
        assert picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        is_whole = 0 < rows[0] and rows[-1] < 5
        assert len(rows) == 3 or not is_whole
    assert (found == 128).any((0, 3)).all()
    assert (pixels == 7).all()
