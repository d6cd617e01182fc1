"""What every tokenizer of `tiny` promises: id range, determinism, batch equals singles, round trip.

The same tests run for text, pictures, speech and rows that mix them.
"""

import io
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dvse.encoding import AudioSegment, Encoding, ImageSegment, TextSegment
from dvse.errors import InputError, ItemTypeError
from dvse.items import Audio, Image, Item, Text, as_sequence
from dvse.storage.finding import find_bundle
from dvse.tokenizer import Tokenizer, load

RNG = np.random.default_rng(7)


def noise(height: int, width: int) -> Image:
    return Image(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def tone(seconds: float, rate: int = 8000) -> Audio:
    t = np.arange(int(seconds * rate)) / rate
    wave = np.sin(2 * np.pi * RNG.uniform(80, 900) * t) * 0.3 + RNG.normal(0, 0.02, len(t))
    return Audio(wave.astype(np.float32), rate)


PICTURES = [noise(32, 32), noise(64, 48), noise(7, 90), noise(500, 375), noise(32, 32)]
RECORDINGS = [tone(0.3), tone(1.0), tone(2.5, 16_000), tone(0.3), tone(35.0)]
TEXTS = [Text(t) for t in ("hello", " 三 ▁ <|image_3|>\r\n", "x", "a\x00b 😀", "hello")]
ROWS: dict[str, list[Item | list[Item]]] = {
    "text": TEXTS,
    "image": PICTURES,
    "audio": RECORDINGS,
    "mixed": [
        [PICTURES[0], TEXTS[0]],
        [TEXTS[1], RECORDINGS[0], PICTURES[1], TEXTS[2]],
        [RECORDINGS[1], RECORDINGS[2]],
    ],
}


Encodings = dict[str, list[Encoding]]


def ids_of(results: Iterable[Encoding]) -> list[list[int]]:
    return [encoding.ids.tolist() for encoding in results]


@pytest.fixture(scope="module")
def alone(tiny: Tokenizer) -> Encodings:
    """Each row encoded by itself."""
    return {kind: [tiny.encode(row) for row in rows] for kind, rows in ROWS.items()}


@pytest.fixture(scope="module")
def copy(tiny: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """What was saved and loaded again."""
    return load(tiny.save(tmp_path_factory.mktemp("bundles") / "copy"), threads=1)


every_kind = pytest.mark.parametrize("kind", ROWS)


@every_kind
def test_ids_lie_in_their_blocks_and_form_legal_streams(
    tiny: Tokenizer, alone: Encodings, kind: str
) -> None:
    v = tiny.vocabulary
    for row, encoding in zip(ROWS[kind], alone[kind], strict=True):
        tiny.grammar.check(encoding.ids)
        assert encoding.ids.dtype == np.int64
        assert encoding.modality_ids.dtype == np.int8
        assert encoding.ids.min() >= 0
        assert encoding.ids.max() < v.num_ids
        kinds = v.kinds(encoding.ids)
        assert set(encoding.modality_ids[kinds == 2].tolist()) <= {1}
        assert set(encoding.modality_ids[kinds == 3].tolist()) <= {2}
        assert encoding.modality_ids[kinds == 0].sum() == 0
        assert [s.stop for s in encoding.spans][-1] == len(encoding)
        assert all(a.stop == b.start for a, b in pairwise(encoding.spans))
        assert len(encoding.spans) == len(as_sequence(row))


@every_kind
def test_the_same_row_gives_the_same_ids(tiny: Tokenizer, alone: Encodings, kind: str) -> None:
    assert ids_of(map(tiny.encode, ROWS[kind])) == ids_of(alone[kind])


@every_kind
def test_a_saved_bundle_gives_the_same_ids(copy: Tokenizer, alone: Encodings, kind: str) -> None:
    assert ids_of(copy.encode_many(ROWS[kind])) == ids_of(alone[kind])


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_codes_are_the_quantized_features(tiny: Tokenizer, kind: str) -> None:
    media = {"image": tiny.image, "audio": tiny.audio}[kind]
    chunks = [c for row in ROWS[kind] for c in tiny.preparer.chunks(as_sequence(row))]
    order = RNG.permutation(len(chunks))
    with tiny.profile.pinned():
        codes = media.encode(chunks)
        features = media.embed(chunks)
        found = media.quantize([features[i] for i in order])
        alone = media.quantize(features[:1])
    assert media.quantize([]) == []
    assert np.array_equal(alone[0], codes[0])
    for i, one in zip(order, found, strict=True):
        assert one.dtype == codes[i].dtype == np.int32
        assert np.array_equal(one, codes[i])
        assert len(features[i]) == len(codes[i])
    assert media.codebook.num_codes == media.num_codes


def test_a_saved_bundle_has_the_same_fingerprint(tiny: Tokenizer, copy: Tokenizer) -> None:
    assert copy.fingerprint == tiny.fingerprint
    assert copy.vocabulary == tiny.vocabulary


def test_loading_takes_less_than_two_seconds(tiny: Tokenizer) -> None:
    """Processor time, for other processes share this machine; the libraries are imported."""
    start = time.process_time()
    load("tiny", threads=1)
    assert time.process_time() - start < 2.0


def test_the_shipped_bundle_is_small() -> None:
    files = [path for path in find_bundle("tiny").rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    decoder = sum(path.stat().st_size for path in files if path.name == "model.safetensors")
    assert total - decoder < 12e6
    assert total < 40e6


@every_kind
def test_a_batch_equals_its_rows_alone(tiny: Tokenizer, alone: Encodings, kind: str) -> None:
    batch = tiny(ROWS[kind][::-1])
    rows = zip(batch.input_ids, batch.attention_mask, strict=True)
    assert [ids[mask].tolist() for ids, mask in rows] == ids_of(alone[kind])[::-1]


@every_kind
def test_chunks_encode_the_same_in_any_company(
    tiny: Tokenizer, alone: Encodings, kind: str
) -> None:
    chunks = [list(tiny.preparer.chunks(as_sequence(row))) for row in ROWS[kind]]
    flat = [chunk for row in chunks for chunk in row]
    for size in (3, len(flat)):
        starts = range(0, len(flat), size)
        encoded = iter([e for i in starts for e in tiny.encode_chunks(flat[i : i + size])])
        found = [tiny.assemble([next(encoded) for _ in row]) for row in chunks]
        assert ids_of(found) == ids_of(alone[kind])


@every_kind
def test_decoding_gives_back_what_the_ids_say(tiny: Tokenizer, alone: Encodings, kind: str) -> None:
    """Text comes back as it was; media as their codes, which make the same ids again."""
    v = tiny.vocabulary
    for row, encoding in zip(ROWS[kind], alone[kind], strict=True):
        items, segments = as_sequence(row), tiny.decode(encoding.ids)
        assert len(segments) == len(items)
        for item, segment, span in zip(items, segments, encoding.spans, strict=True):
            ids = encoding.ids[span.start : span.stop].tolist()
            match segment:
                case TextSegment():
                    assert segment.text == item.text
                case ImageSegment():
                    assert segment.grid == span.grid
                    assert v.image_ids(segment.codes).reshape(-1).tolist() == ids[3:-1]
                    assert segment.pixels.dtype == np.uint8
                    assert segment.pixels.shape == (span.grid[0] * 4, span.grid[1] * 4, 3)
                case AudioSegment():
                    assert v.audio_ids(segment.units).reshape(-1).tolist() == ids[1:-1]
                    assert abs(len(segment.units) / segment.frame_rate_hz - span.duration_s) < 0.05


def test_nothing_in_nothing_out(tiny: Tokenizer) -> None:
    assert tiny.encode_chunks([]) == []
    assert list(tiny.encode_many([])) == []


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_codes_fit_the_codebook_and_the_vocabulary(tiny: Tokenizer, modality: str) -> None:
    media = getattr(tiny, modality)
    assert media.num_codes == tiny.vocabulary.num_codes(modality)
    assert media.num_levels == tiny.vocabulary.num_levels(modality)
    chunks = [c for item in ROWS[modality] for c in tiny.preparer.chunks([item])]
    for chunk, codes in zip(chunks, media.encode(chunks), strict=True):
        assert codes.dtype == np.int32
        assert codes.shape[1:] == (media.num_levels,)
        assert codes.min() >= 0
        assert codes.max() < media.num_codes
        if chunk.keep is not None:
            assert len(codes) == chunk.keep[1] - chunk.keep[0]
        if chunk.grid is not None:
            assert len(codes) == chunk.grid[0] * chunk.grid[1]


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_specs_and_files_make_the_same_tokenizer_again(
    tiny: Tokenizer, modality: str, tmp_path: Path
) -> None:
    media = getattr(tiny, modality)
    media.save_files(tmp_path)
    again = type(media).from_spec(media.spec(), tmp_path)
    chunks = [c for item in ROWS[modality] for c in tiny.preparer.chunks([item])]
    with tiny.profile.pinned():
        for one, two in zip(media.encode(chunks), again.encode(chunks), strict=True):
            assert one.tolist() == two.tolist()
    assert again.spec() == media.spec() == dict(tiny.sections[modality].spec)


BAD = {
    "nothing": None,
    "a number": 5,
    "no bytes": b"",
    "other bytes": b"\x00\x01 not media",
    "text": b"just text that calls itself a picture",
    "a missing path": "no/such/file.xyz",
    "a folder": ".",
    "a path with NUL": "a\0b",
    "an empty path": "",
    "an empty array": np.zeros((0, 0, 3), np.uint8),
    "an array of rank 5": np.zeros((1, 1, 1, 1, 1)),
    "strings": np.array(["a", "b"]),
    "objects": np.array([None, {}], dtype=object),
    "NaN": np.full(8000, np.nan, np.float32),
}


@pytest.mark.parametrize("source", BAD.values(), ids=BAD)
@pytest.mark.parametrize("kind", [Image, Audio])
def test_bad_media_are_input_errors_and_nothing_else(tiny: Tokenizer, kind, source) -> None:
    before, error, after = tiny.encode_many([Text("before"), kind(source), Text("after")])
    assert isinstance(error, InputError)
    assert str(error)
    assert "\n" not in str(error)
    assert before.ids.tolist() == tiny.encode(Text("before")).ids.tolist()
    assert after.ids.tolist() == tiny.encode(Text("after")).ids.tolist()


@pytest.mark.parametrize("source", [{"label": 3}, {}, io.StringIO("text")])
@pytest.mark.parametrize("kind", [Image, Audio])
def test_what_can_be_no_media_at_all_is_refused_when_it_is_handed_in(kind, source) -> None:
    """There is no file whose fault it could be; sources of a job make a line of such a row."""
    with pytest.raises(ItemTypeError):
        kind(source)
