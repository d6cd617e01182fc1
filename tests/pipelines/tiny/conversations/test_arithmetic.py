"""Sums and their reasoning, by hand and by a second formula."""

import random

from pipelines.tiny.conversations.arithmetic import added, counted, heard, largest, said


def test_reasoning_by_hand():
    assert added([7], "en").reasoning == "seven is 7"
    assert added([9, 9, 9], "zh").reasoning == "九是9,九是9,九是9,9+9=18,18+9=27"
    assert largest([0, 5, 2], "en").text == "5"
    assert counted([1, 1, 1, 1], "zh").text == "4"
    assert said([0, 8], "zh") == "零 八"


def test_every_step_of_a_sum_is_right():
    rng = random.Random(0)
    for _ in range(300):
        digits = [rng.randrange(10) for _ in range(rng.randrange(1, 7))]
        for language in ("en", "zh"):
            answer = added(digits, language)
            assert answer.text == str(sum(digits))
            assert heard(answer.reasoning) == digits
            for step in answer.reasoning.replace(",", ",").split(","):
                if "=" in step:
                    left, right = step.split("=")
                    assert eval(left) == int(right)
            assert heard(largest(digits, language).reasoning) == digits


def test_nothing_heard():
    assert heard("") == []
    assert heard("a cat, a dog") == []
