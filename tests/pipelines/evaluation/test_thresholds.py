import numpy as np
import pytest

from dvse.errors import ConfigError
from pipelines.codebooks.usage import CodebookUsage
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


@pytest.mark.parametrize(("num_seen", "is_met"), [(400, True), (9_900, True), (10_000, False)])
def test_the_share_of_codes_used_is_judged_only_from_enough_frames(num_seen, is_met):
    usage = CodebookUsage(counts=np.bincount([0], minlength=500) * num_seen).figures()
    assert usage["num_seen"] == num_seen
    verdicts = judge({"audio": {"usage": [usage]}}, read_thresholds())
    (verdict,) = [v for v in verdicts if v.metric == "audio.usage.0.share_used"]
    assert verdict.is_met is is_met
    assert verdict.bound == "at least 0.98, judged from num_seen_a_code 20 on"
    assert (verdict.value is None) is is_met


@pytest.mark.parametrize(("error", "is_met"), [(0.027, True), (0.073, False)])
def test_words_are_judged_beside_log_mel_so_that_an_untrained_encoder_fails(error, is_met):
    """Trained and untrained, as measured with log-mel at 0.5 % in the same run."""
    words = {"abx_error": error, "abx_error_over_log_mel": round(error - 0.005, 4)}
    assert is_passed(judge({"audio": {"words": words}}, read_thresholds())) is is_met


def test_the_thresholds_that_come_along_can_be_read():
    assert "text.round_trip_failures" in read_thresholds()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"a": {}}',
        '{"a": {"at_least": "x"}}',
        '{"a": {"min": 1}}',
        '{"a": {"at_least": 1, "where": {"n": "x"}}}',
    ],
)
def test_files_that_are_no_thresholds(tmp_path, text):
    path = tmp_path / "thresholds.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected thresholds"):
        read_thresholds(path)
    with pytest.raises(ConfigError, match="expected thresholds"):
        read_thresholds(tmp_path / "none.json")
