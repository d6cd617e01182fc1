"""Words in no order: of one language, out of the topics and the prose, in forms or alone."""

import numpy as np
import pytest

from pipelines.tiny.conversations.odd_texts import language_of, load_odd_texts
from pipelines.tiny.conversations.odd_words import any_words

ENGLISH = {"forms": ["Who owns {}?"], "topics": ["tea"], "lines": ["| boot(8), 启动 | x"]}
CHINESE = {"forms": ["谁拥有{}?"], "topics": ["茶"], "lines": ["| boot(8), 启动 | x", "~"]}


def drawn(language, count=300, **stock):
    rng = np.random.default_rng(0)
    return [any_words(language, rng=rng, **stock) for _ in range(count)]


def test_english_words_stand_apart():
    told = drawn("en", **ENGLISH)
    asked = [text for text in told if text.startswith("Who owns ")]
    assert 0.4 < len(asked) / len(told) < 0.6
    words = {word.strip("?.!") for text in told for word in text.split()}
    assert words == {"tea", "boot", "Who", "owns"}
    assert {len(text.split()) for text in set(told) - set(asked)} == set(range(1, 9))


def test_chinese_ones_do_not():
    told = drawn("zh", **CHINESE)
    assert {sign for text in told for sign in text} == set("谁拥有茶启动?。!")
    assert any("启动" in text for text in told)


def test_without_prose_there_are_topics():
    assert set("".join(drawn("zh", **{**CHINESE, "lines": []}))) == set("谁拥有茶?。!")


@pytest.mark.parametrize("is_held_out", [False, True])
def test_each_is_of_one_language(is_held_out, tmp_path):
    odd, rng = load_odd_texts(is_held_out=is_held_out, prose=tmp_path), np.random.default_rng(1)
    texts = [odd.draw(rng, kind="words") for _ in range(300)]
    of_either = {
        language: [text for text in texts if language_of(text) == language]
        for language in ("en", "zh")
    }
    assert min(map(len, of_either.values())) > 100
    assert not any("\u4e00" <= c <= "\u9fff" for text in of_either["en"] for c in text)
    assert len(set(texts)) > 250
