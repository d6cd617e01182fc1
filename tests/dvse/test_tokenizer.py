"""The front door over fake media: streams by hand, rows and neighbours, errors, decode, save."""

import json
import pickle
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dvse.encoding import AudioSegment, ImageSegment, SpecialSegment, TextSegment
from dvse.errors import (
    ConfigError,
    DecodeError,
    GrammarError,
    IdRangeError,
    InputError,
    ItemTypeError,
    TooShortError,
)
from dvse.items import Audio, Image, Special, Text, as_sequence
from dvse.numerics import use_threads
from dvse.storage.bundle import Bundle
from dvse.tokenizer import load


def picture(rows: int, columns: int, *, first: int = 0) -> np.ndarray:
    """The patch at place p has red first+p and green first+p+1."""
    pixels = np.zeros((rows * 4, columns * 4, 3), np.uint8)
    places = np.arange(rows * columns).reshape(rows, columns) + first
    pixels[::4, ::4, 0], pixels[::4, ::4, 1] = places, places + 1
    return pixels


def recording(*codes: int) -> np.ndarray:
    return np.repeat(np.array(codes, np.float32), 10)


def names(tokenizer, encoding) -> list[str]:
    return [tokenizer.name_of(i) for i in encoding.ids]


def test_a_picture_by_hand(tokenizer):
    encoding = tokenizer.encode(Image(picture(1, 2, first=5)))
    assert names(tokenizer, encoding) == [
        "<|begin_of_image|>",
        "<|grid_1|>",
        "<|grid_2|>",
        "<|image_5|>",
        "<|image_l1_6|>",
        "<|image_6|>",
        "<|image_l1_7|>",
        "<|end_of_image|>",
    ]
    assert (encoding.modality, encoding.grid, encoding.num_levels) == ("image", (1, 2), 2)
    assert encoding.modality_ids.tolist() == [1] * 8
    assert (encoding.duration_s, encoding.frame_rate_hz, encoding.durations) == (None, None, None)


def test_a_fixed_grid_is_not_written_into_the_stream(fakes):
    tokenizer = fakes.build(image=fakes.Image(fixed_grid=(2, 2)))
    encoding = tokenizer.encode(Image(picture(2, 2)))
    assert names(tokenizer, encoding) == [
        "<|begin_of_image|>",
        *[f"<|image_{n}|>" for n in range(4)],
        "<|end_of_image|>",
    ]
    (segment,) = tokenizer.decode(encoding.ids)
    assert segment.grid == (2, 2)
    assert segment.codes[..., 0].tolist() == [[0, 1], [2, 3]]


def test_a_recording_by_hand(tokenizer):
    encoding = tokenizer.encode(Audio(recording(3, 3, 1, 0, 0, 7)))
    assert names(tokenizer, encoding) == [
        "<|begin_of_audio|>",
        *[f"<|audio_{n}|>" for n in (3, 3, 1, 0, 0, 7)],
        "<|end_of_audio|>",
    ]
    assert (encoding.modality, encoding.grid) == ("audio", None)
    assert encoding.duration_s == pytest.approx(0.6)  # two windows: 0.4 s and 0.2 s
    assert encoding.frame_rate_hz == 10.0
    assert encoding.modality_ids.tolist() == [2] * 8


def test_repeats_are_merged_across_windows_and_their_durations_kept(fakes):
    tokenizer = fakes.build(audio=fakes.Audio(merges=True))
    encoding = tokenizer.encode(Audio(recording(3, 3, 1, 0, 0, 7)))
    assert names(tokenizer, encoding)[1:-1] == [f"<|audio_{n}|>" for n in (3, 1, 0, 7)]
    assert encoding.durations.tolist() == [2, 1, 2, 1]
    assert encoding.durations.dtype == np.int32


@pytest.mark.parametrize("merges", [False, True])
def test_runs_of_units_are_one_id_and_come_apart_again(fakes, merges):
    tokenizer = fakes.build(audio=fakes.Audio(merges=merges), runs=[(3, 1), (0, 0), (0, 7)])
    encoding = tokenizer.encode([Text("a"), Audio(recording(3, 3, 1, 0, 0, 7))])
    shown = names(tokenizer, encoding)[-5:-1] if merges else names(tokenizer, encoding)[-6:-1]
    if merges:  # the units 3 1 0 7: runs are of units, durations of each of them
        assert shown[-2:] == ["<|audio_run_0|>", "<|audio_run_2|>"]
        assert encoding.spans[1].durations.tolist() == [2, 1, 2, 1]
    else:
        runs = ["<|audio_run_0|>", "<|audio_run_1|>", "<|audio_7|>"]
        assert shown[-4:] == ["<|audio_3|>", *runs]
    (_, segment) = tokenizer.decode(encoding.ids)
    assert segment.units[:, 0].tolist() == ([3, 1, 0, 7] if merges else [3, 3, 1, 0, 0, 7])
    tokenizer.grammar.check(encoding.ids)


def test_an_interleaved_row(tokenizer):
    row = [Image(picture(1, 1)), Text("What?"), Audio(recording(1)), Text("")]
    encoding = tokenizer.encode(row)
    assert encoding.modality == "mixed"
    assert [(s.modality, s.stop - s.start) for s in encoding.spans] == [
        ("image", 6),
        ("text", len(tokenizer.text.encode("What?"))),
        ("audio", 3),
        ("text", 0),
    ]
    assert encoding.ids.dtype == np.int64
    assert len(encoding) == len(encoding.ids) == encoding.spans[-1].stop
    assert encoding.mask([False, True, False, True]).sum() == len(tokenizer.text.encode("What?"))
    image, text, audio = tokenizer.decode(encoding.ids)
    assert isinstance(image, ImageSegment)
    assert text == TextSegment(text="What?")
    assert isinstance(audio, AudioSegment)


@pytest.mark.parametrize(
    ("row", "modality"),
    [
        (Text("a"), "text"),
        ([Text("a"), Text("b")], "text"),
        ([Special("<|user|>"), Text("b")], "text"),
        ([Special("<|user|>")], "text"),
        ([Special("<|user|>"), Audio(recording(1))], "audio"),
        ([Image(picture(1, 1)), Image(picture(1, 1))], "mixed"),
        ([Image(picture(1, 1)), Text("")], "mixed"),
    ],
)
def test_modality_of_a_row(tokenizer, row, modality):
    assert tokenizer.encode(row).modality == modality


def test_user_text_that_spells_specials_stays_text(tokenizer):
    text = "<|begin_of_image|><|image_3|><|end_of_image|><|endoftext|><|user|>"
    encoding = tokenizer.encode(Text(text))
    assert (tokenizer.vocabulary.kinds(encoding.ids) == 0).all()
    assert tokenizer.decode(encoding.ids) == [TextSegment(text=text)]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_round_trips(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(Text(text)).ids) == [TextSegment(text=text)]


# --- batches ---------------------------------------------------------------------------------

ROWS = [
    Text("hello"),
    Image(picture(1, 2)),
    Audio(recording(1, 2, 3)),
    [Text("a"), Image(picture(2, 1)), Text("b")],
    Text(""),
]


def test_a_batch_holds_the_rows_as_they_are_alone(tokenizer):
    batch = tokenizer(ROWS)
    for row, ids, mask, modality in zip(
        ROWS, batch.input_ids, batch.attention_mask, batch.modality_ids, strict=True
    ):
        alone = tokenizer.encode(row)
        assert ids[mask].tolist() == alone.ids.tolist()
        assert modality[mask].tolist() == alone.modality_ids.tolist()
        assert set(ids[~mask].tolist()) <= {tokenizer.vocabulary.pad_id}
        assert set(modality[~mask].tolist()) <= {-1}


def test_options_reach_collate(tokenizer):
    batch = tokenizer(ROWS, padding="max_length", max_length=20, padding_side="left")
    assert batch.input_ids.shape == (5, 20)
    assert not batch.attention_mask[:, 0].any()
    with pytest.raises(InputError, match="max_length"):
        tokenizer(ROWS, max_length=2)


def test_one_item_is_one_row(tokenizer):
    assert tokenizer(Text("hello")).input_ids.shape[0] == 1
    assert tokenizer([]).input_ids.shape == (0, 0)


@pytest.mark.parametrize("rows", ["cat.jpg", b"cat", Path("cat.jpg"), None, 3])
def test_a_bare_value_is_refused_with_advice(tokenizer, rows):
    with pytest.raises(ItemTypeError, match=r'dvse\.Text\("hello"\) or dvse\.Image\("cat\.jpg"\)'):
        tokenizer(rows)


def test_a_bad_row_is_named_by_its_number(tokenizer):
    with pytest.raises(ItemTypeError, match=r"^row 1: expected dvse\.Text"):
        tokenizer([Text("a"), "cat.jpg"])
    with pytest.raises(TooShortError, match=r"^row 2: expected at least 10 samples"):
        tokenizer([Text("a"), Text("b"), Audio(recording())])
    with pytest.raises(ItemTypeError, match=r"^row 0: expected at least one item"):
        tokenizer([[]])


def test_a_bad_row_costs_only_itself(tokenizer):
    rows = [
        Text("a"),
        Text("\ud800"),
        Audio(recording(5)),
        [Text("x"), Image("missing.jpg")],
        "bare",
        [Special("<|nonsense|>")],
        Audio(recording()),
        [],
        Image(picture(1, 1)),
    ]
    results = list(tokenizer.encode_many(rows))
    assert [type(r).__name__ for r in results] == [
        "Encoding",
        "DecodeError",
        "Encoding",
        "DecodeError",
        "ItemTypeError",
        "InputError",
        "TooShortError",
        "ItemTypeError",
        "Encoding",
    ]
    for row, result in zip(rows, results, strict=True):
        if not isinstance(result, InputError):
            assert result.ids.tolist() == tokenizer.encode(row).ids.tolist()


def test_a_row_that_breaks_late_leaves_nothing_behind(fakes):
    """Chunks of a broken row never reach an encoder, unless they were encoded before it broke."""
    image = fakes.Image()
    tokenizer = fakes.build(image=image, audio=fakes.Audio())
    broken = [*[Image(picture(1, 1))] * 70, Image("missing.jpg")]
    good = Image(picture(1, 1, first=9))
    first, second, third = tokenizer.encode_many([good, broken, good])
    assert isinstance(second, DecodeError)
    assert first.ids.tolist() == third.ids.tolist() == tokenizer.encode(good).ids.tolist()
    assert max(image.batch_sizes) <= 64


def test_many_rows_are_encoded_together_and_none_waits_for_the_last(fakes):
    image = fakes.Image()
    tokenizer = fakes.build(image=image)
    seen = []

    def rows():
        for n in range(300):
            seen.append(n)
            yield Image(picture(1, 1, first=n % 16))

    results = tokenizer.encode_many(rows())
    next(results)
    assert len(seen) <= 64, "rows are read as they are needed"
    rest = list(results)
    assert len(rest) == 299
    assert max(image.batch_sizes) == 64
    codes = [tokenizer.vocabulary.codes_of("image", e.ids[3:4])[0][0] for e in rest]
    assert codes == [n % 16 for n in range(1, 300)]


def test_pictures_inside_longer_rows_fill_the_same_batches(fakes):
    """Text and special tokens of a prompt take no room among the pictures."""
    image = fakes.Image()
    tokenizer = fakes.build(image=image)
    around = [Special("<|user|>"), Text("What"), Text(" is"), Text(" this?")]
    rows = [[*around, Image(picture(1, 1, first=n % 16)), *around] for n in range(128)]
    together = list(tokenizer.encode_many(rows))
    assert image.batch_sizes == [64, 64]
    assert [e.ids.tolist() for e in together[::17]] == [
        tokenizer.encode(row).ids.tolist() for row in rows[::17]
    ]


def test_a_long_recording_stays_in_bounded_memory(fakes):
    """No more windows wait at once than one flush takes, however long the recording is."""
    audio = fakes.Audio()
    sizes = []
    encode = audio.encode
    audio.encode = lambda chunks: sizes.append(len(chunks)) or encode(chunks)
    tokenizer = fakes.build(audio=audio)
    encoding = tokenizer.encode(Audio(recording(*[n % 8 for n in range(4000)])))
    assert len(encoding) == 4002
    assert max(sizes) == 64
    assert sum(sizes) == 1000


def test_a_missing_modality_is_an_input_error(fakes):
    tokenizer = fakes.build()
    with pytest.raises(InputError, match="no image tokenizer"):
        tokenizer.encode(Image(picture(1, 1)))
    with pytest.raises(InputError, match="no audio tokenizer"):
        tokenizer.encode(Audio(recording(1)))


# --- the three steps apart, as a job takes them ------------------------------------------------


def test_prepare_encode_assemble_is_encode(tokenizer):
    preparer = pickle.loads(pickle.dumps(tokenizer.preparer))
    per_row = [list(preparer.chunks(as_sequence(row))) for row in ROWS]
    encoded = iter(tokenizer.encode_chunks([chunk for chunks in per_row for chunk in chunks]))
    for row, chunks in zip(ROWS, per_row, strict=True):
        together = tokenizer.assemble([next(encoded) for _ in chunks])
        alone = tokenizer.encode(row)
        assert together.ids.tolist() == alone.ids.tolist()
        assert together.modality_ids.tolist() == alone.modality_ids.tolist()
        assert [vars(s) for s in together.spans] == [vars(s) for s in alone.spans]


def test_the_preparer_finds_every_input_error(tokenizer):
    for bad in (Text("\ud800"), Special("<|nonsense|>"), Image(None), Audio(recording())):
        with pytest.raises(InputError):
            list(tokenizer.preparer.chunks([bad]))


def test_the_preparer_is_small(tokenizer):
    assert len(pickle.dumps(tokenizer.preparer)) < 20_000


def test_encoders_run_under_the_profile(fakes):
    image = fakes.Image()
    threads = []
    encode = image.encode
    image.encode = lambda chunks: threads.append(torch.get_num_threads()) or encode(chunks)
    tokenizer = fakes.build(image=image)
    with use_threads(2):
        tokenizer.encode(Image(picture(1, 1)))
        assert torch.get_num_threads() == 2
    assert threads == [1]


# --- decode ----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_decode_to_what_they_were(tokenizer, side):
    batch = tokenizer(ROWS, padding="max_length", max_length=30, padding_side=side)
    assert tokenizer.decode(batch.input_ids[0]) == [TextSegment(text="hello")]
    assert tokenizer.decode(batch.input_ids[4]) == []
    (segment,) = tokenizer.decode(batch.input_ids[1])
    assert segment.codes.tolist() == [[[0, 1], [1, 2]]]
    assert segment.codes.dtype == np.int32
    assert segment.pixels.shape == (4, 8)
    (units,) = tokenizer.decode(batch.input_ids[2])
    assert units.units.tolist() == [[1], [2], [3]]
    assert units.frame_rate_hz == 10.0


@pytest.mark.parametrize(
    "convert",
    [
        list,
        tuple,
        np.asarray,
        lambda ids: np.asarray(ids, np.uint16),
        torch.tensor,
        lambda ids: torch.tensor(ids, dtype=torch.int32),
    ],
)
def test_ids_come_in_any_container(tokenizer, convert):
    ids = tokenizer.encode(Text("hello")).ids.tolist()
    assert tokenizer.decode(convert(ids)) == [TextSegment(text="hello")]


def test_nothing_decodes_to_nothing(tokenizer):
    assert tokenizer.decode([]) == []
    assert tokenizer.decode(torch.zeros(0)) == []
    assert tokenizer.decode([tokenizer.vocabulary.pad_id] * 3) == []


def test_the_end_of_a_document_between_documents_is_seen(tokenizer):
    ids = [
        *tokenizer.encode(Text("a")).ids,
        tokenizer.vocabulary.pad_id,
        *tokenizer.encode(Text("b")).ids,
    ]
    assert tokenizer.decode(ids) == [
        TextSegment(text="a"),
        SpecialSegment(name="<|endoftext|>"),
        TextSegment(text="b"),
    ]


def test_reserved_ids_have_names(tokenizer):
    last = tokenizer.vocabulary.text_size + 255
    assert tokenizer.decode([last]) == [SpecialSegment(name="<|reserved_255|>")]


def test_pixels_only_where_they_are_wanted(tokenizer):
    ids = tokenizer.encode(Image(picture(1, 1))).ids
    (segment,) = tokenizer.decode(ids, render=False)
    assert segment.pixels is None


def test_no_pixels_without_a_pixel_decoder(fakes):
    image = fakes.Image()
    image.decoder = None
    tokenizer = fakes.build(image=image)
    (segment,) = tokenizer.decode(tokenizer.encode(Image(picture(1, 1))).ids)
    assert segment.pixels is None
    assert segment.grid == (1, 1)


def test_half_a_picture_is_refused(tokenizer):
    ids = tokenizer.encode(Image(picture(2, 2))).ids
    for stop in range(1, len(ids)):
        with pytest.raises(GrammarError, match=r"<\|begin_of_image\|> is still open"):
            tokenizer.decode(ids[:stop])
    with pytest.raises(GrammarError):
        tokenizer.decode(ids[1:])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([10**6], r"expected ids in 0\.\."),
        ([-1], "received -1"),
        ([0.5], "whole numbers"),
        ([[1, 2]], "one row of ids .*decode row by row"),
        (7, "one row of ids"),
        ("hello", "whole numbers"),
        ([[1], [1, 2]], "one shape"),
    ],
)
def test_other_ids_are_refused(tokenizer, ids, message):
    with pytest.raises(IdRangeError, match=message):
        tokenizer.decode(ids)


def test_names_of_ids(tokenizer):
    assert tokenizer.name_of(int(tokenizer.text.encode(" the")[0])).startswith("▁")
    assert tokenizer.name_of(tokenizer.vocabulary.image_ids(17 - 10)) == "<|image_7|>"
    assert (
        tokenizer.vocabulary.special_id("<|user|>")
        == tokenizer.vocabulary.special_tokens["<|user|>"]
    )
    for token_id in (-1, tokenizer.vocabulary.num_ids):
        with pytest.raises(IdRangeError):
            tokenizer.name_of(token_id)
    with pytest.raises(IdRangeError, match="special token"):
        tokenizer.vocabulary.special_id("<|nonsense|>")


# --- saving ----------------------------------------------------------------------------------

TEXTS = ["hello", " 三 ▁ <|user|>", "a\x00b"]


def test_load_save_load_keeps_fingerprint_and_ids(text_bundle, tmp_path):
    one = load(text_bundle, threads=1)
    target = one.save(tmp_path / "deep" / "copy")
    two = load(target, threads=1)
    assert two.fingerprint == one.fingerprint == Bundle.open(text_bundle).fingerprint
    assert two.vocabulary == one.vocabulary
    assert (two.name, two.card) == (one.name, one.card)
    for text in TEXTS:
        assert two.encode(Text(text)).ids.tolist() == one.encode(Text(text)).ids.tolist()
    original, copied = (
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (text_bundle, target)
    )
    assert original == copied


def test_a_bundle_can_be_saved_over_itself(text_bundle):
    tokenizer = load(text_bundle)
    tokenizer.save(text_bundle)
    assert load(str(text_bundle)).fingerprint == tokenizer.fingerprint


def test_saving_into_something_else_is_refused(text_bundle, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    with pytest.raises(ConfigError, match="new or empty directory"):
        load(text_bundle).save(tmp_path / "thesis")
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


def test_a_hugging_face_bundle_round_trips(glm_document, fakes, tmp_path):
    from dvse.text.hugging_face import HuggingFaceText

    built = fakes.build(text=HuggingFaceText(glm_document))
    one = load(built.save(tmp_path / "one"))
    two = load(one.save(tmp_path / "two"))
    assert one.fingerprint == two.fingerprint
    ids = one.encode(Text("<|user|> 三")).ids
    assert ids.tolist() == two.encode(Text("<|user|> 三")).ids.tolist()
    assert (
        two.vocabulary.special_id("<|user|>")
        == built.vocabulary.special_id("<|user|>")
        < one.text.size
    )


def test_push_to_hub_uploads_a_whole_bundle(text_bundle, monkeypatch):
    calls = []

    class FakeApi:
        def __init__(self, token=None):
            calls.append(("api", token))

        def create_repo(self, repo_id, **options):
            calls.append(("create", repo_id, options))

        def upload_folder(self, *, repo_id, folder_path, **options):
            bundle = Bundle.open(Path(folder_path))
            calls.append(("upload", repo_id, bundle.fingerprint, options))
            return "https://huggingface.co/owner/words/commit/1"

    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    tokenizer = load(text_bundle)
    address = tokenizer.push_to_hub(
        "owner/words", token="secret", private=True, commit_message="New"
    )
    assert address.endswith("/commit/1")
    api, create, upload = calls
    assert api == ("api", "secret")
    assert create == ("create", "owner/words", {"private": True, "exist_ok": True})
    assert upload[:3] == ("upload", "owner/words", tokenizer.fingerprint)
    assert upload[3]["commit_message"] == "New"
    assert "text/*" in upload[3]["delete_patterns"]


def test_load_checks_its_options(text_bundle):
    with pytest.raises(ConfigError, match="at least 1 thread"):
        load(text_bundle, threads=0)
    with pytest.raises(ConfigError, match="expected device"):
        load(text_bundle, device="abacus")
    assert load(text_bundle, threads=3).profile.threads == 3


def test_it_says_what_it_is(text_bundle):
    assert repr(load(text_bundle)) == (
        "Tokenizer('words', 340 text pieces, 0 image codes, 0 audio codes, on cpu)"
    )


# --- chat ------------------------------------------------------------------------------------


def test_apply_chat_template(tokenizer):
    messages = [{"role": "user", "content": "Hi <|assistant|>"}]
    batch = tokenizer.apply_chat_template(messages)
    segments = tokenizer.decode(batch.input_ids[0])
    assert [getattr(s, "name", None) or s.text for s in segments] == [
        "[gMASK]",
        "<sop>",
        "<|user|>",
        "\nHi <|assistant|>",
        "<|assistant|>",
        "\n",
        "<think>",
        "</think>",
    ]
    two = tokenizer.apply_chat_template(
        [messages, [{"role": "user", "content": "A longer question"}]], padding_side="left"
    )
    assert two.input_ids.shape[0] == 2
    mask = two.attention_mask[0]
    assert two.input_ids[0][mask].tolist() == batch.input_ids[0].tolist()


def test_chat_with_a_picture(tokenizer):
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "image", "image": picture(1, 1)},
                {"type": "text", "text": "What is this?"},
            ],
        }
    ]
    batch = tokenizer.apply_chat_template(messages, add_generation_prompt=False)
    assert batch.modality_ids[0].tolist().count(1) == 6


def test_json_is_enough_for_what_a_job_writes_down(tokenizer):
    document = {
        "vocabulary": tokenizer.vocabulary.to_dict(),
        "profile": tokenizer.profile.to_dict(),
    }
    assert json.loads(json.dumps(document))["profile"]["threads"] == 1
