"""Turns of words alone: each in one language, answered by what it is taught."""

from itertools import islice

import numpy as np
import pytest

from dvse.chat import render
from pipelines.tiny.conversations.identity import answer_about_itself
from pipelines.tiny.conversations.odd_forms import FORMS, TOPICS
from pipelines.tiny.conversations.odd_texts import language_of, load_odd_texts
from pipelines.tiny.conversations.scene import LANGUAGES
from pipelines.tiny.conversations.talk import ANSWERS, REASONING, as_typed, sum_turn, talk_turns
from pipelines.tiny.conversations.talk_questions import TALK, WHO_HELD_OUT
from pipelines.tiny.conversations.turns import full_width, messages
from pipelines.tiny.odd_scoring import is_mixed

NUM_PARAMETERS = 5_300_000


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    return load_odd_texts(prose=tmp_path_factory.mktemp("no-prose"))


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= c <= "\u9fff" for c in text)


def test_answers_are_in_the_language_of_the_question(odd):
    for turn in islice(
        talk_turns(odd, np.random.default_rng(0), num_parameters=NUM_PARAMETERS), 500
    ):
        if turn.answer.isdigit():
            continue
        language = "zh" if is_chinese(turn.answer) else "en"
        assert not is_mixed(turn.answer + turn.reasoning, language)
        assert language == language_of(turn.question), turn


def test_one_language_an_answer():
    told = [*ANSWERS.values(), *REASONING.values()]
    told += [
        {k: answer_about_itself(kind, k, num_parameters=NUM_PARAMETERS) for k in LANGUAGES}
        for kind in ("who", "can", "other")
    ]
    for texts in told:
        assert not is_mixed(texts["en"], "en") and not is_mixed(texts["zh"], "zh")


def test_sums_are_right_in_figures_and_words():
    numbers = {"zero": 0, "ten": 10, "零": 0, "十": 10}
    for seed in range(200):
        turn = sum_turn(np.random.default_rng(seed), is_thinking=True)
        terms, total = turn.reasoning.split("=")
        assert total == turn.answer == str(sum(map(int, terms.split("+"))))
        for word, number in numbers.items():
            if word in turn.question.split() or (len(word) == 1 and word in turn.question):
                assert str(number) in terms.split("+")


def test_paraphrases_are_kept_apart():
    for language in LANGUAGES:
        asked = WHO_HELD_OUT[language]
        assert len(set(asked)) == 10
        known = {q.strip("?!.。").lower() for qs in TALK.values() for q in qs[language]}
        assert not known & {q.strip("?!.。").lower() for q in asked}


def test_no_held_out_paraphrase_is_asked(odd):
    def bare(text):
        return "".join(c for c in text.lower() if c.isalnum())

    shares = {"who": 1.0}
    turns = talk_turns(odd, np.random.default_rng(3), num_parameters=NUM_PARAMETERS, shares=shares)
    asked = {bare(next(turns).question) for _ in range(4000)}
    assert not asked & {bare(q) for qs in WHO_HELD_OUT.values() for q in qs}
    assert len(asked) > 400


def test_what_is_tested_has_other_forms_and_topics():
    for language in LANGUAGES:
        for trained, held_out in (FORMS[language], TOPICS[language]):
            assert not set(trained) & set(held_out)
            assert all(trained) and all(held_out)


def test_odd_texts_stay_within_their_length():
    odd = load_odd_texts()
    texts = [odd.draw(np.random.default_rng(seed), most_chars=300) for seed in range(300)]
    assert max(map(len, texts)) <= 300
    assert all(text.strip() for text in texts)


def test_the_plainest_way_to_ask_is_the_articles():
    assert TALK["who"]["zh"][0] == "你是谁?" and TALK["who"]["en"][0] == "Who are you?"


def test_system_prompts_stand_first_and_media_once(odd):
    seen = set()
    for seed in range(80):
        rng = np.random.default_rng(seed)
        turns = [*islice(talk_turns(odd, rng, num_parameters=NUM_PARAMETERS), 2)]
        rows = messages({"type": "image", "image": "a.png"}, turns, rng)
        roles = [row["role"] for row in rows]
        assert roles[-4:] == ["user", "assistant"] * 2
        seen.add(roles[0])
        sources = [getattr(item, "source", None) for item in render(rows).items]
        assert sources.count("a.png") == 1
    assert seen == {"system", "user"}


def test_typing_changes_form_only():
    for seed in range(60):
        typed = as_typed("Who are you?", np.random.default_rng(seed))
        assert typed.strip().lower().rstrip("?") == "who are you"
    assert full_width("1+1=?") == "1+1=?"


def test_text_at_the_border_is_of_either_language(odd):
    texts = [odd.draw(np.random.default_rng(seed), kind="border") for seed in range(200)]
    assert {language_of(text) for text in texts} == {"en", "zh"}
    kana = [text for text in texts if any("\u3040" <= c <= "\u30ff" for c in text)]
    assert kana and all(language_of(text) == "en" for text in kana)
