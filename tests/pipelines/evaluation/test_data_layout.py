import json

import pytest

from dvse.errors import TrainingError
from pipelines.evaluation.data_layout import LAYOUT_FILE, TRAIN, read_layout


@pytest.fixture
def data(tmp_path):
    (tmp_path / "fsdd").mkdir()
    for name in ("cifar10-train.parquet", "fsdd/manifest.jsonl", "README.md"):
        (tmp_path / name).touch()
    return tmp_path


def test_the_fixed_splits_of_the_projects_own_data(data):
    sources = read_layout(data)
    image, audio = sources["image"].splits, sources["audio"].splits
    assert image[TRAIN].holds(44_999, {}) and not image[TRAIN].holds(45_000, {})
    assert image["validation"].holds(45_000, {}) and not image["validation"].holds(50_000, {})
    for speaker, index, expected in (
        ("george", 5, "known"),
        ("george", 9, "known"),
        ("george", 10, TRAIN),
        ("jackson", 49, TRAIN),
        ("lucas", 5, "unknown"),
        ("lucas", 30, "unknown"),
    ):
        row = {"speaker": speaker, "audio_filepath": f"7_{speaker}_{index}.wav"}
        assert [name for name, split in audio.items() if split.holds(0, row)] == [expected]


def test_a_description_in_the_folder_comes_first(data):
    own = {"text": {"path": "*.md"}}
    (data / LAYOUT_FILE).write_text(json.dumps(own))
    assert set(read_layout(data)) == {"text"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"video": {"path": "README.md"}}',
        '{"text": {}}',
        '{"text": {"path": "*", "labels": "x"}}',
        '{"audio": {"path": "*", "train": {"where": {"speaker": "("}}}}',
        '{"audio": {"path": "*", "train": {"range": [0, 1]}}}',
        '{"audio": {"path": "*", "phones": {"path": "a", "frame_rate_hz": 0}}}',
        '{"audio": {"path": "*", "phones": {"path": "a", "stress": true}}}',
    ],
)
def test_descriptions_that_are_none(data, text):
    (data / LAYOUT_FILE).write_text(text)
    with pytest.raises(TrainingError, match="expected a description"):
        read_layout(data)


def test_folders_without_known_data(tmp_path):
    with pytest.raises(TrainingError, match=r"say in evaluation\.json"):
        read_layout(tmp_path)
    with pytest.raises(TrainingError, match="expected a folder"):
        read_layout(tmp_path / "none")
