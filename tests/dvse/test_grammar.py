"""The grammar against a regular expression over one letter an id, on streams right and wrong."""

import re
from copy import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvse.errors import GrammarError, IdRangeError
from dvse.grammar import Grammar
from dvse.vocabulary import Vocabulary

LEVELS = {"image": 2, "audio": 3}
V = Vocabulary.create(text_size=6, image=(2, 2), audio=(2, 3)).grow(
    "image", num_codes=4, num_levels=2
)
BEGIN_IMAGE, END_IMAGE = (
    V.special_tokens["<|begin_of_image|>"],
    V.special_tokens["<|end_of_image|>"],
)
BEGIN_AUDIO, END_AUDIO = (
    V.special_tokens["<|begin_of_audio|>"],
    V.special_tokens["<|end_of_audio|>"],
)
SIDES = {n: V.special_tokens[f"<|grid_{n}|>"] for n in range(1, 129)}
MOST = 6
NAMED = {BEGIN_IMAGE: "(", END_IMAGE: ")", BEGIN_AUDIO: "[", END_AUDIO: "]"}
NAMED |= {i: chr(0x100 + n) for n, i in SIDES.items()}


def letter(token_id: int) -> str:
    """t outside, ( ) picture, [ ] recording, a b image levels, x y z audio levels, 1… sizes."""
    if token_id in NAMED:
        return NAMED[token_id]
    kind = V.kinds([token_id])[0]
    if kind < 2:
        return "t"
    _, (level,) = V.codes_of(("image", "audio")[kind - 2], [token_id])
    return ("ab" if kind == 2 else "xyz")[level]


def size(n: int) -> str:
    return chr(0x100 + n)


VARIABLE = "|".join(
    rf"\({size(h)}{size(w)}(?:ab){{{h * w}}}\)"
    for h in range(1, MOST + 1)
    for w in range(1, MOST + 1)
    if h * w <= MOST
)
FIXED = r"\((?:ab){6}\)"
AUDIO = r"\[(?:xyz)+\]"


def complete(stream: str, picture: str) -> bool:
    return re.fullmatch(f"(?:t|{picture}|{AUDIO})*", stream) is not None


GRAMMARS = {
    "variable": (Grammar(vocabulary=V, max_image_codes=MOST), VARIABLE),
    "fixed": (Grammar(vocabulary=V, fixed_grid=(2, 3)), FIXED),
}


def accepts(grammar: Grammar, ids: list[int]) -> bool:
    try:
        grammar.check(ids)
    except GrammarError:
        return False
    return True


def picture(rows: int, columns: int, *, states_size: bool, draw=lambda n: 0) -> list[int]:
    ids = [BEGIN_IMAGE, SIDES[rows], SIDES[columns]] if states_size else [BEGIN_IMAGE]
    for _ in range(rows * columns):
        ids += [int(V.image_ids(draw(4), level=n)) for n in range(2)]
    return [*ids, END_IMAGE]


def recording(num_places: int, draw=lambda n: 0) -> list[int]:
    places = [int(V.audio_ids(draw(2), level=n)) for _ in range(num_places) for n in range(3)]
    return [BEGIN_AUDIO, *places, END_AUDIO]


@st.composite
def streams(draw, *, states_size: bool):
    """Legal streams, then perhaps spoiled by dropping, doubling, swapping or replacing ids."""
    any_of = lambda n: draw(st.integers(0, n - 1))  # noqa: E731
    ids: list[int] = []
    for kind in draw(st.lists(st.sampled_from("tpr"), max_size=4)):
        if kind == "t":
            ids.append(draw(st.sampled_from([0, 5, V.special_tokens["<|user|>"], 261])))
        elif kind == "r":
            ids += recording(draw(st.integers(1, 3)), any_of)
        elif states_size:
            rows, columns = draw(st.sampled_from([(1, 1), (1, 6), (2, 3), (3, 1)]))
            ids += picture(rows, columns, states_size=True, draw=any_of)
        else:
            ids += picture(2, 3, states_size=False, draw=any_of)
    for _ in range(draw(st.integers(0, 2))):
        if not ids:
            break
        i, j = any_of(len(ids)), any_of(len(ids))
        match draw(st.sampled_from(["drop", "double", "swap", "replace", "cut"])):
            case "drop":
                del ids[i]
            case "double":
                ids.insert(i, ids[i])
            case "swap":
                ids[i], ids[j] = ids[j], ids[i]
            case "replace":
                ids[i] = draw(st.integers(0, V.num_ids - 1))
            case "cut":
                ids = ids[:i]
    return ids


@pytest.mark.parametrize("name", GRAMMARS)
@settings(max_examples=200)
@given(data=st.data())
def test_agrees_with_a_regular_expression(name, data):
    grammar, expression = GRAMMARS[name]
    ids = data.draw(streams(states_size=name == "variable"))
    stream = "".join(letter(i) for i in ids)
    assert accepts(grammar, ids) == complete(stream, expression)


@pytest.mark.parametrize("name", GRAMMARS)
@settings(max_examples=50)
@given(data=st.data())
def test_push_accepts_exactly_what_allowed_says(name, data):
    grammar, _ = GRAMMARS[name]
    prefix = data.draw(streams(states_size=name == "variable"))
    state = grammar.start()
    for token_id in prefix:
        if any(token_id in ids for ids in state.allowed()):
            state.push(token_id)
    mask = grammar.allowed_mask(state)
    assert mask.shape == (V.size,)
    assert not mask[V.num_ids :].any()
    for token_id in range(V.num_ids):
        fresh = copy(state)
        if mask[token_id]:
            fresh.push(token_id)
        else:
            with pytest.raises(GrammarError):
                fresh.push(token_id)


@pytest.mark.parametrize("name", GRAMMARS)
@settings(max_examples=40)
@given(data=st.data())
def test_a_walk_along_allowed_ids_never_dead_ends_and_is_legal(name, data):
    grammar, expression = GRAMMARS[name]
    state, ids = grammar.start(), []
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    while len(ids) < 60 or not state.is_complete:
        choices = np.flatnonzero(grammar.allowed_mask(state))
        # Recordings may go on for ever: prefer to end them.
        token_id = END_AUDIO if END_AUDIO in choices else int(rng.choice(choices))
        state.push(token_id)
        ids.append(token_id)
    state.finish()
    assert complete("".join(letter(i) for i in ids), expression)


def test_every_legal_grid_and_no_other():
    grammar, _ = GRAMMARS["variable"]
    for rows in range(1, 9):
        for columns in range(1, 9):
            legal = accepts(grammar, picture(rows, columns, states_size=True))
            assert legal == (rows * columns <= MOST), (rows, columns)


def test_a_picture_as_large_as_the_largest_side():
    grammar = Grammar(vocabulary=V)
    assert accepts(grammar, picture(1, 128, states_size=True))
    assert accepts(grammar, picture(128, 1, states_size=True))


def test_runs_stand_where_codes_stand():
    """A recording of one level: codes and runs in any order, at least one of them."""
    v = Vocabulary.create(text_size=2, audio=(3, 1)).grow_runs([(0, 1), (2, 2)])
    v = v.grow("audio", num_codes=4)
    grammar = Grammar(vocabulary=v)
    begin, end = (v.special_tokens[f"<|{side}_of_audio|>"] for side in ("begin", "end"))
    grammar.check([0, begin, *v.place_ids("audio", [[2], [2], [3], [0], [1], [0]]), end, 1])
    state = grammar.start()
    state.push(begin)
    codes = [int(i) for i in range(v.num_ids) if v.kinds(i) == 3]
    assert len(codes) == 6  # four codes, two runs
    assert np.flatnonzero(grammar.allowed_mask(state)).tolist() == codes
    state.push(codes[-2])  # a run
    assert np.flatnonzero(grammar.allowed_mask(state)).tolist() == sorted([*codes, end])
    for wrong in ([v.num_ids - 2], [begin, end], [begin, codes[0], 0, end]):
        with pytest.raises(GrammarError):
            grammar.check(wrong)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, END_IMAGE], r"position 1: expected .*, received <\|end_of_image\|>"),
        ([SIDES[2]], r"position 0: .* received <\|grid_2\|>"),
        ([int(V.image_ids(3))], r"position 0: .* received <\|image_3\|>"),
        (
            [BEGIN_IMAGE, SIDES[1], SIDES[1], int(V.image_ids(3)), END_IMAGE],
            r"position 4: expected <\|image_l1_0\|> … <\|image_l1_1\|> or "
            r"<\|image_l1_2\|> … <\|image_l1_3\|>, received <\|end_of_image\|>",
        ),
        (
            [BEGIN_IMAGE, SIDES[1]],
            r"position 2: expected <\|grid_1\|> … <\|grid_6\|>, received the end of the stream; "
            r"<\|begin_of_image\|> is still open",
        ),
        ([BEGIN_AUDIO, END_AUDIO], "position 1: expected <.audio_0.> … <.audio_1.>, received"),
        ([BEGIN_AUDIO, 0], "position 1"),
        ([BEGIN_AUDIO, *recording(1)[1:-1], BEGIN_IMAGE], "received <.begin_of_image.>"),
    ],
)
def test_errors_name_position_expected_and_received(ids, message):
    with pytest.raises(GrammarError, match=message):
        GRAMMARS["variable"][0].check(ids)


def test_ids_outside_the_vocabulary():
    with pytest.raises(IdRangeError):
        GRAMMARS["variable"][0].check([V.num_ids])


def test_the_empty_stream_is_legal():
    GRAMMARS["fixed"][0].check([])


def test_a_vocabulary_without_media_opens_none():
    v = Vocabulary.create(text_size=6)
    grammar = Grammar(vocabulary=v)
    for name in ("<|begin_of_image|>", "<|begin_of_audio|>"):
        with pytest.raises(GrammarError):
            grammar.check([v.special_tokens[name]])
    assert grammar.allowed_mask(grammar.start())[v.special_tokens["<|user|>"]]


def test_specials_inside_the_text_block():
    """A GLM-4 tokenizer brings its own <|begin_of_image|> among the text ids."""
    v = Vocabulary.create(
        text_size=20,
        image=(4, 1),
        text_specials={"<|begin_of_image|>": 11, "<|end_of_image|>": 12, "<|grid_1|>": 3},
    )
    grammar = Grammar(vocabulary=v)
    two = v.special_tokens["<|grid_2|>"]
    grammar.check([10, 11, 3, two, *v.image_ids([0, 1]), 12, 13])
    for wrong in ([12], [3], [10, 11, two]):
        with pytest.raises(GrammarError):
            grammar.check(wrong)
    assert np.flatnonzero(~grammar.allowed_mask(grammar.start())[:20]).tolist() == [3, 12]


def test_side_of():
    grammar, _ = GRAMMARS["variable"]
    assert [grammar.side_of(SIDES[n]) for n in (1, 16, 128)] == [1, 16, 128]
    with pytest.raises(IdRangeError, match="size token"):
        grammar.side_of(0)
