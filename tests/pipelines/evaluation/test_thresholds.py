import pytest

from dvse.errors import ConfigError
from pipelines.evaluation.thresholds import is_passed, judge, read_thresholds

METRICS = {"image": {"psnr_db": 21.0, "usage": [{"share_used": 0.5}]}, "text": {"unknown": 0}}


@pytest.mark.parametrize(
    ("thresholds", "is_met"),
    [
        ({"image.psnr_db": {"at_least": 21}}, True),
        ({"image.psnr_db": {"at_least": 21.01}}, False),
        ({"text.unknown": {"at_most": 0}}, True),
        ({"image.psnr_db": {"at_least": 20, "at_most": 20.5}}, False),
        ({"image.usage.0.share_used": {"at_least": 0.98}}, False),
        ({"audio.pnmi": {"at_least": 0.5}}, True),
        ({"audio.pnmi": {"at_least": 0.5, "required": True}}, False),
        ({"image.usage.1.share_used": {"at_least": 0.5}}, True),
    ],
)
def test_thresholds(thresholds, is_met):
    verdicts = judge(METRICS, thresholds)
    assert is_passed(verdicts) is is_met
    assert len(verdicts) == 1


def test_the_thresholds_that_come_along_can_be_read():
    assert "text.round_trip_failures" in read_thresholds()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": {}}', '{"a": {"at_least": "x"}}', '{"a": {"min": 1}}']
)
def test_files_that_are_no_thresholds(tmp_path, text):
    path = tmp_path / "thresholds.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected thresholds"):
        read_thresholds(path)
    with pytest.raises(ConfigError, match="expected thresholds"):
        read_thresholds(tmp_path / "none.json")
