"""Odd pictures and the table of pictures, on files made here."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.tiny import picture_table
from pipelines.tiny.conversations.odd_pictures import OddPictures, load_odd_pictures
from pipelines.tiny.conversations.scene import LABELS
from pipelines.training.image.pictures import load_pictures


@pytest.fixture
def folders(tmp_path):
    stamps, walls = tmp_path / "stamps", tmp_path / "walls"
    for i in range(20):
        for kind in ("food", "animals"):
            (stamps / kind).mkdir(parents=True, exist_ok=True)
            Image.new("RGBA", (40, 30), (200, i, 0, 255)).save(stamps / kind / f"{i}.png")
        images = walls / f"wall{i}" / "contents" / "images"
        images.mkdir(parents=True)
        for size in (64, 96):
            Image.new("RGB", (size, size), (i, 100, 50)).save(images / f"{size}x{size}.png")
        Image.new("RGB", (9, 9)).save(images.parent / "screenshot.png")
    return stamps, (walls,)


def test_both_sides_of_the_split_are_all_files_and_share_none(folders):
    stamps, photographs = folders
    trained, tested = (
        load_odd_pictures(is_held_out=held_out, stamps=stamps, photographs=photographs)
        for held_out in (False, True)
    )
    # The second channel of a stamp and the first of a photograph are their file's number.
    numbers = [{int(s[0, 0, 1]) for s in side.stamps} for side in (trained, tested)]
    assert numbers[0] | numbers[1] == set(range(20)) and not numbers[0] & numbers[1]
    walls = [[int(p[0, 0, 0]) for p in side.photographs] for side in (trained, tested)]
    assert set(walls[0]) | set(walls[1]) == set(range(20)) and not set(walls[0]) & set(walls[1])
    assert len(walls[0]) + len(walls[1]) == 40  # both sizes, no screenshot
    assert all(walls[0].count(number) == 2 for number in walls[0])


@pytest.mark.parametrize("kind", ["drawing", "stamp", "photograph"])
@pytest.mark.parametrize("side", [32, 64])
def test_pictures_have_the_side_that_is_asked_for(folders, kind, side):
    odd = load_odd_pictures(stamps=folders[0], photographs=folders[1])
    for seed in range(5):
        picture = odd.draw(np.random.default_rng(seed), side=side, kind=kind)
        assert picture.shape == (side, side, 3) and picture.dtype == np.uint8


def test_clip_art_is_of_no_folder_that_may_show_the_ten(tmp_path):
    for folder in ("food", "animals", "transportation"):
        (tmp_path / folder).mkdir()
        for i in range(20):
            Image.new("RGBA", (50, 40), (9, i, 0, 255)).save(tmp_path / folder / f"{i}.png")
    sides = [
        load_odd_pictures(
            is_held_out=held_out, stamps=tmp_path / "no", photographs=(), clip_art=tmp_path
        )
        for held_out in (False, True)
    ]
    names = [{path.relative_to(tmp_path).as_posix() for path in side.clip_art} for side in sides]
    assert names[0] | names[1] == {f"food/{i}.png" for i in range(20)} and not names[0] & names[1]
    picture = sides[0].draw(np.random.default_rng(0), side=32, kind="clip_art")
    assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8


def test_without_files_there_are_drawings(tmp_path):
    odd = load_odd_pictures(
        stamps=tmp_path / "no", photographs=(tmp_path / "none",), clip_art=tmp_path
    )
    assert not odd.stamps and not odd.photographs and not odd.clip_art
    assert odd.draw(np.random.default_rng(0)).shape == (32, 32, 3)


def test_the_table_has_its_rows_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_table, "NUM_TRAINING", 20)
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 9, 9)).save(buffer, "PNG")
    rows = [
        {"image": {"bytes": buffer.getvalue(), "path": "x"}, "label": LABELS[i % 10]}
        for i in range(30)
    ]
    cifar = tmp_path / "cifar.parquet"
    pq.write_table(pa.Table.from_pylist(rows), cifar)
    odd = OddPictures(drawings=("star",))
    table = picture_table.write_picture_table(
        cifar, odd, tmp_path / "new" / "table.parquet", num_drawn=10, num_odd=5
    )
    labels = pq.read_table(table)["label"].to_pylist()
    assert labels[:20] == [row["label"] for row in rows[:20]]
    assert labels[20:30] == list(LABELS) and labels[30:35] == ["unknown"] * 5
    assert labels[35:] == [row["label"] for row in rows[20:]]
    train = load_pictures(table, size=32, rows=slice(0, 35), label_column="label")
    held_out = load_pictures(table, size=32, rows=slice(35, None), label_column="label")
    assert train.label_names == (*held_out.label_names, "unknown")  # the same numbers


def test_a_poster_larger_than_pillow_opens_is_passed_over(tmp_path, monkeypatch):
    for name, side in (("poster", 60), ("pin", 10)):
        Image.new("RGBA", (side, side), (9, 9, 9, 255)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    odd = OddPictures(drawings=(), clip_art=(tmp_path / "poster.png", tmp_path / "pin.png"))
    for seed in range(8):
        assert odd.draw(np.random.default_rng(seed), kind="clip_art").shape == (32, 32, 3)
