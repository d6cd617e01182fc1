"""Caption figures on examples whose values can be worked out by hand."""

import pytest

from dvse.errors import ConfigError
from pipelines.evaluation.measures import captions as caption_measures
from pipelines.evaluation.measures.captions import caption_figures, named, normalized

REFERENCES = ["a photo of a frog", "a photo of a cat", "a photo of a ship", "a photo of a dog"]
LABELS = ["frog", "cat", "ship", "dog"]


def test_captions_that_are_right():
    figures = caption_figures(["A photo of a frog.", *REFERENCES[1:]], REFERENCES, LABELS)
    assert figures["accuracy"] == figures["exact"] == 1
    assert figures["word_error_rate"] == 0
    assert figures["bleu"] == pytest.approx(100)
    assert figures["cider"] == pytest.approx(10)


def test_captions_that_are_half_right():
    captions = ["a photo of a frog", "a cat", "a photo of a dog", "a cat and a dog"]
    figures = caption_figures(captions, REFERENCES, LABELS)
    assert figures["inputs"] == 4
    assert figures["accuracy"] == 0.5  # the fourth names two
    assert figures["exact"] == 0.25
    # 3 deletions, 1 substitution, then "a cat and a dog": cat and and for photo and of
    assert figures["word_error_rate"] == pytest.approx((3 + 1 + 2) / 20)
    assert 0 < figures["bleu"] < 100
    assert 0 < figures["cider"] < 10


def test_single_words_as_recordings_have_them():
    figures = caption_figures(["seven", "one"], ["seven", "nine"], ["seven", "nine"])
    assert figures["accuracy"] == figures["word_error_rate"] == 0.5
    assert figures["bleu"] == pytest.approx(50)


def test_without_labels_there_is_no_accuracy():
    figures = caption_figures(["three one"], ["three one four"], [""])
    assert "accuracy" not in figures
    assert figures["word_error_rate"] == pytest.approx(1 / 3, abs=1e-4)


def test_chinese_counts_characters():
    assert normalized("一张猫的照片。") == "一 张 猫 的 照 片"
    figures = caption_figures(["一张狗的照片"], ["一张猫的照片"], [""])
    assert figures["word_error_rate"] == pytest.approx(1 / 6, abs=1e-4)


def test_empty_captions_count_as_wrong():
    figures = caption_figures(["", ""], ["seven", "nine"], ["seven", "nine"])
    assert figures["accuracy"] == figures["bleu"] == 0
    assert figures["word_error_rate"] == 1


def test_labels_are_whole_words():
    assert named("a photo of a catfish", {"cat", "fish"}) == set()
    assert named("no dog but a polar bear", {"dog", "polar bear"}) == {"dog", "polar bear"}


def test_a_missing_library_is_named(monkeypatch):
    found = caption_measures.find_spec
    monkeypatch.setattr(
        caption_measures, "find_spec", lambda n: None if n == "sacrebleu" else found(n)
    )
    figures = caption_figures(["seven"], ["seven"], ["seven"])
    assert "bleu" not in figures
    assert "pip install 'dvse[captions]'" in figures["not_measured"]["bleu"]


def test_lists_that_do_not_fit():
    for lists in (([], [], []), (["a"], ["a", "b"], ["a"])):
        with pytest.raises(ConfigError, match="as many captions"):
            caption_figures(*lists)
