"""Words through time against all ways there are, and against recordings whose words are known."""

from itertools import combinations, pairwise

import numpy as np
import pytest

import dvse
from pipelines.server.answers.spoken_words import spoken_words
from pipelines.server.answers.subtitles import TimedText
from pipelines.server.answers.timed_transcript import TimedTranscript
from pipelines.server.answers.word_times import _cuts, word_frames


@pytest.mark.parametrize(("num_words", "num_frames"), [(1, 1), (1, 5), (3, 3), (3, 9), (5, 11)])
def test_the_way_that_collects_most_attention(num_words, num_frames):
    attention = np.random.default_rng(num_frames).random((num_words, num_frames))

    def collected(cuts):
        return sum(attention[word, a:b].sum() for word, (a, b) in enumerate(pairwise(cuts)))

    ways = [[0, *inner, num_frames] for inner in combinations(range(1, num_frames), num_words - 1)]
    assert _cuts(attention) == max(ways, key=collected)


def test_words_part_where_it_is_quiet_and_end_where_they_are_loud():
    levels = np.full(40, -70.0)
    levels[5:12] = -20  # one
    levels[8] = -45  # the closure of a plosive inside it
    levels[20:30] = -15  # two
    attention = np.zeros((2, 40))
    attention[0, 6] = attention[1, 28] = 1.0
    assert word_frames(attention, levels) == [(5, 12), (20, 30)]


def test_a_word_has_the_tokens_that_wrote_it():
    text = dvse.load("tiny").text
    ids = text.encode('He said: "seven", 三!').tolist()
    words = spoken_words(ids, text)
    assert [word.text for word in words] == ["He", "said", "seven", "三"]
    for word in words:
        written = text.decode([ids[number] for number in word.tokens])
        assert word.text in written and len(written) <= len(word.text) + 3


def test_lines_end_at_pauses_and_before_they_are_too_long():
    text = dvse.load("tiny").text
    content = "one two. " + "three " * 30
    ids = text.encode(content).tolist()
    words = spoken_words(ids, text)
    starts = [0.0, 2.0, *(3.0 + 0.2 * n for n in range(30))]  # a pause after the first word
    timed = [
        TimedText(start=start, end=start + 0.2, text=word.text)
        for start, word in zip(starts, words, strict=True)
    ]
    found = TimedTranscript._of_words(text.decode(ids), words, timed, len(ids))
    assert found.lines[0] == TimedText(start=0.0, end=0.2, text="one")
    assert found.lines[1].text.startswith("two. three") and found.lines[1].start == 2.0
    assert max(len(line.text) for line in found.lines) <= 84
    assert " ".join(line.text for line in found.lines) == content.strip()
    assert [n for tokens in found.tokens for n in tokens] == list(range(len(ids)))
