"""The answer grammar: what `compose` lays out is what a caption tells, in both languages."""

import numpy as np
import pytest

from pipelines.tiny.conversations.mosaic import SIDE, compose
from pipelines.tiny.conversations.scene import LABELS, Scene, parse_scene


def tile_of(value):
    return np.full((SIDE, SIDE, 3), value, np.uint8)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_caption_tells_the_scene_that_was_laid_out(language, count):
    for seed in range(60):
        rng = np.random.default_rng((count, seed))
        labels = [LABELS[i] for i in rng.integers(0, 10, count)]
        scene = compose([tile_of(0)] * count, labels, rng).scene
        assert parse_scene(scene.describe(language)) == scene
        assert sorted(scene.labels) == sorted(labels)


def test_tiles_lie_where_the_scene_says():
    values = [10, 20, 30, 40]
    labels = LABELS[:4]
    for seed in range(80):
        rng = np.random.default_rng(seed)
        count = 2 + seed % 3
        mosaic = compose([tile_of(v) for v in values[:count]], labels[:count], rng)
        canvas, scene = mosaic.pixels, mosaic.scene
        for y, row in enumerate(scene.rows):
            for x, label in enumerate(row):
                if label is None:
                    continue
                is_centred = len(row) == 1 and canvas.shape[1] > SIDE
                left = SIDE // 2 if is_centred else SIDE * x
                found = canvas[SIDE * y : SIDE * (y + 1), left : left + SIDE]
                assert (found == values[labels.index(label)]).all()


def test_captions_by_hand():
    assert Scene(rows=(("airplane",),)).describe("en") == "a photo of an airplane"
    assert Scene(rows=(("cat", None), (None, "dog"))).describe("en") == (
        "a cat on the left; below, a dog on the right"
    )
    assert Scene(rows=(("cat",), ("truck",))).describe("zh") == "猫;下面是卡车"


@pytest.mark.parametrize("text", ["", "seven", "a cow", "a cat a dog a frog", "法国"])
def test_what_is_no_caption_tells_no_scene(text):
    assert parse_scene(text) is None
