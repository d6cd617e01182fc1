import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PilImage

from dvse.errors import TrainingError
from pipelines.training.image.pictures import load_pictures, parse_rows


def png(value: int, size=8) -> bytes:
    file = io.BytesIO()
    PilImage.fromarray(np.full((size, size, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "pictures.parquet"
    cells = [{"bytes": png(i), "path": None} for i in range(10)]
    cells[4]["bytes"] = b"broken"
    labels = ["dog" if i % 2 else "cat" for i in range(10)]
    pq.write_table(pa.table({"image": cells, "label": labels}), path)
    return path


def test_rows_of_a_parquet_file(table):
    pictures = load_pictures(table, size=8, rows=parse_rows("3:7"), label_column="label")
    assert pictures.pixels[:, 0, 0, 0].tolist() == [3, 5, 6]
    assert pictures.num_unreadable == 1
    assert pictures.label_names == ("cat", "dog")
    assert pictures.labels.tolist() == [1, 1, 0]
    assert pictures.sha256 != load_pictures(table, size=8, rows=parse_rows("3:6")).sha256


def test_folder_with_a_folder_for_each_class(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(png(ord(name)))
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    pictures = load_pictures(tmp_path, size=4, label_column="folder")
    assert pictures.pixels[:, 0, 0, 0].tolist() == [ord("a"), ord("b")]
    assert pictures.label_names == ("a", "b") and pictures.labels.tolist() == [0, 1]
    assert load_pictures(tmp_path, size=4).labels is None


@pytest.mark.parametrize("text", ["", "5", "a:b", "7:3", "3:3", "-1:4"])
def test_wrong_rows(text):
    with pytest.raises(TrainingError, match="START"):
        parse_rows(text)


def test_nothing_to_train_on(table, tmp_path):
    with pytest.raises(TrainingError, match="no such"):
        load_pictures(tmp_path / "absent", size=8)
    with pytest.raises(TrainingError, match="columns"):
        load_pictures(table, size=8, image_column="picture")
    with pytest.raises(TrainingError, match="no pictures"):
        load_pictures(table, size=8, rows=parse_rows("50:60"))
    with pytest.raises(TrainingError, match="none of 1"):
        load_pictures(table, size=8, rows=parse_rows("4:5"))
    with pytest.raises(TrainingError, match="bytes"):
        load_pictures(table, size=8, image_column="label")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="no pictures"):
        load_pictures(tmp_path / "empty", size=8)
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(TrainingError, match="Parquet"):
        load_pictures(tmp_path / "text.parquet", size=8)


def test_labels_of_rows_that_lack_a_class_keep_its_number(tmp_path):
    """Names of validation rows alone would give `c` the number that `b` has in training."""
    for name, labels in (("train", "abc"), ("validation", "cadc")):
        for i, label in enumerate(labels):
            folder = tmp_path / name / label
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.png").write_bytes(png(i))
    train, validation = (
        load_pictures(tmp_path / name, size=8, label_column="folder")
        for name in ("train", "validation")
    )
    assert validation.label_names == ("a", "c", "d")
    renumbered = validation.labelled_as(train.label_names)
    by_red = dict(zip(renumbered.pixels[:, 0, 0, 0], renumbered.labels, strict=True))
    assert by_red == {0: 2, 1: 0, 2: -1, 3: 2}
    assert renumbered.label_names == train.label_names == ("a", "b", "c")
