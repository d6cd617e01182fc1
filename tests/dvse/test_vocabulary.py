"""The shared vocabulary: layout by hand, ranges both ways, growth, JSON, differences."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvse.blocks import KINDS, Block
from dvse.errors import IdRangeError, VocabularyError
from dvse.special_tokens import GRID_TOKENS, MAX_GRID_SIDE, NAMED_TOKENS
from dvse.vocabulary import Vocabulary

shapes = st.none() | st.tuples(st.integers(1, 40), st.integers(1, 3))
vocabularies = st.builds(
    lambda size, image, audio: Vocabulary.create(text_size=size, image=image, audio=audio),
    st.integers(1, 100),
    shapes,
    shapes,
)


def test_layout_by_hand():
    v = Vocabulary.create(text_size=1000, image=(1024, 1), audio=(200, 2))
    assert [(b.name, b.level, b.first_id, b.size) for b in v.blocks] == [
        ("text", 0, 0, 1000),
        ("special", 0, 1000, 256),
        ("image", 0, 1256, 1024),
        ("audio", 0, 2280, 200),
        ("audio", 1, 2480, 200),
    ]
    assert (v.num_ids, v.size, v.text_size) == (2680, 2688, 1000)
    assert v.image_ids([[0, 1023]]).tolist() == [[1256, 2279]]
    assert v.audio_ids(199, level=1) == 2679
    assert (v.num_codes("image"), v.num_levels("image")) == (1024, 1)
    assert (v.num_codes("audio"), v.num_levels("audio")) == (200, 2)
    assert list(v.special_tokens) == [*NAMED_TOKENS, *GRID_TOKENS]
    assert min(v.special_tokens.values()) == 1000
    assert len(v.special_tokens) <= 256


def test_size_is_a_multiple_of_128_and_never_wasteful():
    for text_size in range(1, 300):
        v = Vocabulary.create(text_size=text_size)
        assert v.size % 128 == 0
        assert 0 <= v.size - v.num_ids < 128


def test_names_print_as_promised():
    v = Vocabulary.create(text_size=10, image=(20, 1), audio=(20, 2))
    assert v.name_of(v.image_ids(17)) == "<|image_17|>"
    assert v.name_of(v.audio_ids(17)) == "<|audio_17|>"
    assert v.name_of(v.audio_ids(17, level=1)) == "<|audio_l1_17|>"
    assert v.name_of(3) == "<text_3>"
    assert v.name_of(3, piece="▁the") == "▁the"
    assert v.name_of(v.special_tokens["<|user|>"]) == "<|user|>"
    assert v.name_of(10 + 255) == "<|reserved_255|>"


def test_names_are_unique():
    v = Vocabulary.create(text_size=5, image=(30, 2), audio=(9, 1)).grow(
        "image", num_codes=44, num_levels=3
    )
    names = [v.name_of(i) for i in range(v.num_ids)]
    assert len(set(names)) == v.num_ids


@pytest.mark.parametrize("codes", [[-1], [4], [0, 4], 2**40, [[0], [-7]]])
def test_codes_outside_their_block_are_refused(codes):
    v = Vocabulary.create(text_size=10, image=(4, 1), audio=(4, 1))
    with pytest.raises(IdRangeError, match=r"expected image codes in 0\.\.3"):
        v.image_ids(codes)


def test_a_missing_level_or_modality_is_refused():
    v = Vocabulary.create(text_size=10, image=(4, 1))
    with pytest.raises(IdRangeError, match="1 image levels, received level 1"):
        v.image_ids([0], level=1)
    with pytest.raises(IdRangeError, match="0 audio levels"):
        v.audio_ids([0])


@pytest.mark.parametrize(
    "ids", [[-1], [10 + 256 + 4], [0.0, 1.0], [True], ["a"], [[1], [1, 2]], [2**70], [2**64 - 1]]
)
def test_ids_outside_the_vocabulary_are_refused(ids):
    v = Vocabulary.create(text_size=10, image=(4, 1))
    with pytest.raises(IdRangeError, match="expected ids"):
        v.check_ids(ids)


def test_padding_rows_are_no_ids():
    v = Vocabulary.create(text_size=10)
    assert v.check_ids([v.num_ids - 1]) == [v.num_ids - 1]
    with pytest.raises(IdRangeError):
        v.check_ids([v.size - 1])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint64, np.int8])
def test_narrow_and_unsigned_codes_do_not_wrap(dtype):
    v = Vocabulary.create(text_size=60_000, image=(9000, 1))
    assert v.id_dtype == np.uint32
    ids = v.image_ids(np.array([0, 100], dtype=dtype))
    assert ids.dtype == np.int64
    assert ids.tolist() == [60_256, 60_356]


@pytest.mark.parametrize(("text_size", "dtype"), [(65_280, np.uint16), (65_281, np.uint32)])
def test_id_dtype_is_the_smallest_that_holds_every_id(text_size, dtype):
    # 65,280 + 256 specials = 65,536 = 2**16: the highest id is 65,535.
    assert Vocabulary.create(text_size=text_size).id_dtype == dtype


def test_codes_of_refuses_other_blocks():
    v = Vocabulary.create(text_size=10, image=(4, 1), audio=(4, 1))
    with pytest.raises(IdRangeError, match=r"expected image ids, received 271 \(<\|audio_1\|>\)"):
        v.codes_of("image", [266, 271])


@given(vocabularies)
def test_codes_and_ids_are_inverse(v):
    for name in ("image", "audio"):
        for level in range(v.num_levels(name)):
            codes = np.arange(v.num_codes(name))
            ids = v.code_ids(name, codes, level=level)
            back, levels = v.codes_of(name, ids)
            assert (back == codes).all()
            assert (levels == level).all()
            assert {KINDS[k] for k in v.kinds(ids)} == {name}


@given(vocabularies)
def test_every_id_belongs_to_exactly_one_kind(v):
    kinds = v.kinds(np.arange(v.num_ids))
    counts = {name: int((kinds == i).sum()) for i, name in enumerate(KINDS)}
    assert counts == {
        "text": v.text_size,
        "special": 256,
        "image": v.num_codes("image") * v.num_levels("image"),
        "audio": v.num_codes("audio") * v.num_levels("audio"),
    }


@given(vocabularies, st.lists(st.tuples(st.sampled_from(["image", "audio"]), shapes), max_size=4))
def test_growing_never_moves_an_id(v, growths):
    for name, shape in growths:
        if shape is None:
            continue
        num_codes = max(shape[0], v.num_codes(name))
        num_levels = max(shape[1], v.num_levels(name))
        bigger = v.grow(name, num_codes=num_codes, num_levels=num_levels)
        assert [bigger.name_of(i) for i in range(v.num_ids)] == [
            v.name_of(i) for i in range(v.num_ids)
        ]
        assert bigger.special_tokens == v.special_tokens
        assert bigger.blocks[: len(v.blocks)] == v.blocks
        assert (bigger.num_codes(name), bigger.num_levels(name)) == (num_codes, num_levels)
        assert all(line.startswith("added") for line in v.diff(bigger))
        assert all(line.startswith("removed") for line in bigger.diff(v))
        assert bigger.size >= v.size
        v = bigger


def test_a_bigger_codebook_continues_in_a_new_block():
    v = Vocabulary.create(text_size=10, image=(4, 2), audio=(3, 1))
    bigger = v.grow("image", num_codes=6, num_levels=2)
    # text 0..9, special 10..265, image 266..269 and 270..273, audio 274..276, then the new codes
    assert bigger.image_ids([3, 4, 5]).tolist() == [269, 277, 278]
    assert bigger.image_ids([3, 4, 5], level=1).tolist() == [273, 279, 280]
    assert bigger.audio_ids([2]).tolist() == [276]
    assert bigger.name_of(278) == "<|image_5|>"
    assert bigger.name_of(279) == "<|image_l1_4|>"
    assert v.diff(bigger) == [
        "added: image level 0 codes 4..5 at 277..278",
        "added: image level 1 codes 4..5 at 279..280",
    ]


def test_runs_get_ids_behind_all_others():
    # text 0..9, special 10..265, audio 266..269, image 270..271
    v = Vocabulary.create(text_size=10, audio=(4, 1)).grow("image", num_codes=2)
    first = v.grow_runs([(3, 3), (0, 3, 3)])
    assert [first.name_of(i) for i in (272, 273)] == ["<|audio_run_0|>", "<|audio_run_1|>"]
    assert first.place_ids("audio", [[0], [3], [3], [3], [3], [1]]).tolist() == [273, 272, 267]
    assert first.code_ids("audio", [0, 3, 3]).tolist() == [266, 269, 269]  # codes stay codes
    codes, levels = first.codes_of("audio", [273, 272, 267])
    assert codes.tolist() == [0, 3, 3, 3, 3, 1] and levels.tolist() == [0] * 6
    assert {KINDS[k] for k in first.kinds([272, 273])} == {"audio"}

    # More codes, then more runs: each in a block of its own, and no id moves.
    grown = first.grow("audio", num_codes=6).grow_runs([(3, 3), (0, 3, 3), (5, 1)])
    assert grown.place_ids("audio", [[5], [1], [4], [3], [3]]).tolist() == [276, 274, 272]
    assert grown.codes_of("audio", [276, 274, 272])[0].tolist() == [5, 1, 4, 3, 3]
    assert v.diff(grown) == [
        "added: audio runs 0..1 at 272..273",
        "added: audio level 0 codes 4..5 at 274..275",
        "added: audio runs 2..2 at 276..276",
    ]
    assert (grown.num_codes("audio"), grown.num_levels("audio"), len(grown.runs)) == (6, 1, 3)
    read = Vocabulary.from_dict(json.loads(json.dumps(grown.to_dict())))
    assert read == grown and read.fingerprint == grown.fingerprint != first.fingerprint


@given(
    st.lists(st.lists(st.integers(0, 8), min_size=2, max_size=4).map(tuple), unique=True),
    st.lists(st.integers(0, 8), max_size=30),
    st.integers(9, 12),
)
def test_runs_lose_nothing_and_growing_moves_none_of_them(runs, codes, num_codes):
    v = Vocabulary.create(text_size=5, image=(3, 2), audio=(9, 1)).grow_runs(runs)
    ids = v.place_ids("audio", np.array(codes, dtype=np.int64)[:, None])
    assert v.codes_of("audio", ids)[0].tolist() == codes
    grown = v.grow("audio", num_codes=num_codes).grow("image", num_codes=4, num_levels=2)
    assert grown.codes_of("audio", ids)[0].tolist() == codes
    assert grown.place_ids("audio", np.array(codes)[:, None].astype(int)).tolist() == ids.tolist()
    names = [v.name_of(i) for i in range(v.num_ids)]
    assert len(set(names)) == v.num_ids == len({*names, *map(grown.name_of, range(v.num_ids))})


def test_runs_that_cannot_be():
    v = Vocabulary.create(text_size=10, audio=(4, 1)).grow_runs([(3, 3), (0, 1)])
    with pytest.raises(VocabularyError, match="do not begin with the 2 of this vocabulary"):
        v.grow_runs([(0, 1), (3, 3)])
    with pytest.raises(VocabularyError, match=r"expected at least two codes in 0\.\.3"):
        v.grow_runs([*v.runs.runs, (0, 4)])
    for levels in (v.grow, Vocabulary.create(text_size=10, audio=(4, 2)).grow_runs):
        with pytest.raises(VocabularyError, match="runs of residual levels are not defined"):
            levels("audio", num_codes=4, num_levels=2) if levels == v.grow else levels([(1, 1)])
    document = v.to_dict()
    for change, reason in (
        ({"runs": [[3, 3]]}, "a block of 1 runs of audio codes, received one of 2"),
        ({"runs": [[3, 3], [3, "x"]]}, "a run as a list of codes"),
        ({"runs": 3}, "one of runs"),
        ({"extra": 1}, "expected a vocabulary with the fields"),
    ):
        with pytest.raises(VocabularyError, match=reason):
            Vocabulary.from_dict({**document, **change})
    other = Vocabulary.create(text_size=10, audio=(4, 1)).grow_runs([(3, 3), (0, 2)])
    assert v.diff(other) == ["moved: audio run 1, [0, 1], is [0, 2]"]


@pytest.mark.parametrize("shape", [(3, 1), (4, 0), (0, 1)])
def test_a_codebook_never_shrinks(shape):
    v = Vocabulary.create(text_size=10, image=(4, 1))
    with pytest.raises(VocabularyError, match="can only grow"):
        v.grow("image", num_codes=shape[0], num_levels=shape[1])


def test_only_media_grow():
    with pytest.raises(VocabularyError, match="'image' or 'audio'"):
        Vocabulary.create(text_size=10).grow("text", num_codes=20)


def test_offsets_do_not_collide_when_codebooks_differ_in_size():
    v = Vocabulary.create(text_size=7, image=(5, 3), audio=(11, 2))
    parts = [v.image_ids(range(5), level=n) for n in range(3)]
    parts += [v.audio_ids(range(11), level=n) for n in range(2)]
    ids = np.concatenate(parts)
    assert ids.tolist() == list(range(7 + 256, v.num_ids))


def test_diff_names_what_breaks():
    v = Vocabulary.create(text_size=10, image=(4, 1))
    other = Vocabulary.create(text_size=11, audio=(4, 1))
    lines = v.diff(other)
    assert "moved: text at 0..9 to text at 0..10" in lines
    assert "moved: special at 10..265 to special at 11..266" in lines
    assert "removed: image level 0 codes 0..3 at 266..269" in lines
    assert "added: audio level 0 codes 0..3 at 267..270" in lines
    assert "moved: <|user|> from 14 to 15" in lines
    assert v.diff(v) == []


@given(vocabularies)
def test_json_round_trip(v):
    document = json.loads(json.dumps(v.to_dict()))
    again = Vocabulary.from_dict(document)
    assert again == v
    assert again.fingerprint == v.fingerprint
    assert hash(again) == hash(v)


def test_fingerprints_tell_vocabularies_apart():
    v = Vocabulary.create(text_size=10, image=(4, 1))
    others = [
        Vocabulary.create(text_size=11, image=(4, 1)),
        Vocabulary.create(text_size=10, image=(5, 1)),
        Vocabulary.create(text_size=10, audio=(4, 1)),
        v.grow("audio", num_codes=1),
    ]
    assert len({v.fingerprint, *(o.fingerprint for o in others)}) == 5
    assert all(v != o for o in others)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format version 1, received 2; install"),
        ({"size": 1}, "expected vocabulary size 384"),
        ({"surprise": 1}, "surprise"),
        ({"blocks": ...}, "expected a vocabulary with the fields"),
        ({"blocks": 5}, "expected a list of blocks"),
        ({"blocks": [{"name": "text"}]}, "expected a list of blocks"),
        ({"blocks": []}, "expected a text block"),
        ({"special_tokens": [1]}, "expected a vocabulary with the fields"),
        ({"special_tokens": {}}, "missing"),
    ],
)
def test_other_documents_are_refused(changes, message):
    document = Vocabulary.create(text_size=10).to_dict()
    for key, value in changes.items():
        if value is ...:
            del document[key]
        else:
            document[key] = value
    with pytest.raises(VocabularyError, match=message):
        Vocabulary.from_dict(document)


SPECIALS = Vocabulary.create(text_size=10).special_tokens
TEXT = Block(name="text", first_id=0, size=10)
SPECIAL = Block(name="special", first_id=10, size=256)


@pytest.mark.parametrize(
    "blocks",
    [
        [SPECIAL, TEXT],
        [TEXT, Block(name="special", first_id=10, size=255)],
        [TEXT, Block(name="special", first_id=11, size=256)],
        [TEXT, SPECIAL, Block(name="image", first_id=265, size=4)],
        [TEXT, SPECIAL, Block(name="image", first_id=267, size=4)],
        [TEXT, SPECIAL, Block(name="image", first_id=266, size=0)],
        [TEXT, SPECIAL, Block(name="image", first_id=266, size=4, level=1)],
        [TEXT, SPECIAL, Block(name="image", first_id=266, size=4, first_code=1)],
        [TEXT, SPECIAL, Block(name="text", first_id=266, size=4, level=1)],
        [TEXT, SPECIAL, Block(name="special", first_id=266, size=256, level=1)],
        [
            TEXT,
            SPECIAL,
            Block(name="audio", first_id=266, size=4),
            Block(name="audio", first_id=270, size=3, level=1),
        ],
    ],
)
def test_gaps_overlaps_and_orphans_are_refused(blocks):
    with pytest.raises(VocabularyError):
        Vocabulary(blocks, SPECIALS)


@pytest.mark.parametrize(
    "changes", [{"name": "video"}, {"size": -1}, {"size": 1.0}, {"level": "0"}]
)
def test_a_block_checks_its_fields(changes):
    with pytest.raises(VocabularyError):
        Block(**{"name": "image", "first_id": 0, "size": 4, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"<|user|>": 266},
        {"<|user|>": -1},
        {"<|user|>": 10.0},
        {"<|user|>": True},
        {"<|user|>": SPECIALS["<|system|>"]},
    ],
)
def test_specials_lie_in_text_or_specials_on_ids_of_their_own(changes):
    with pytest.raises(VocabularyError, match="special"):
        Vocabulary([TEXT, SPECIAL], SPECIALS | changes)


def test_specials_of_the_text_tokenizer_keep_their_ids():
    known = {"<|user|>": 7, "<|begin_of_image|>": 3, "[MASK]": 9}
    v = Vocabulary.create(text_size=10, image=(4, 1), text_specials=known)
    assert {name: v.special_tokens[name] for name in known} == known
    assert v.special_tokens["<|endoftext|>"] == 10
    assert min(i for n, i in v.special_tokens.items() if n not in known) == 10
    assert v.kinds([7, 3, 9, 8]).tolist() == [1, 1, 1, 0]
    assert v.name_of(9) == "[MASK]"
    assert len(v.special_tokens) == len(NAMED_TOKENS) + MAX_GRID_SIDE + 1
