"""A file's ids depend on its bytes, the bundle and the numerics profile, and on nothing else.

Over 200 generated files of all kinds go through `tiny` alone, in batches with random neighbours, in
any order and with decode and device work apart; every id must be the same. The slow test does it
with real architectures.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from dvse.audio.encoder import AudioEncoder
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.codebook import Codebook
from dvse.errors import ConfigError
from dvse.items import Audio, Image, Item, Text
from dvse.numerics import NumericsProfile
from dvse.tokenizer import Tokenizer, load

SIZES = [(32, 32), (32, 32), (48, 32), (33, 47), (64, 64), (20, 100), (128, 90), (7, 7)]
PICTURE_FORMATS = ["png", "jpeg", "webp", "bmp", "gif", "tiff"]
RATES = [8_000, 11_025, 16_000, 44_100]
SOUND_FORMATS = [
    ("wav", "PCM_16"),
    ("wav", "PCM_U8"),
    ("wav", "FLOAT"),
    ("flac", "PCM_24"),
    ("ogg", "VORBIS"),
    ("mp3", "MPEG_LAYER_III"),
]
WORDS = [
    "the",
    " quick",
    "\n",
    "▁",
    "三",
    "今天",
    "<|begin_of_image|>",
    "😀",
    " 42",
    "\x00",
    "naïve",
]


def picture_file(folder: Path, number: int, rng: np.random.Generator) -> Image:
    width, height = SIZES[number % len(SIZES)]
    kind = PICTURE_FORMATS[number % len(PICTURE_FORMATS)]
    coarse = rng.integers(0, 256, (rng.integers(2, 6), rng.integers(2, 6), 3), dtype=np.uint8)
    image = PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC)
    path = folder / f"picture {number}.{kind}"
    image.save(path)
    return Image(path)


def sound_file(folder: Path, number: int, rng: np.random.Generator) -> Audio:
    rate = RATES[number % len(RATES)]
    suffix, subtype = SOUND_FORMATS[number % len(SOUND_FORMATS)]
    # A few of exactly one length, which could share a batch; one that needs several windows.
    seconds = 70.0 if number == 0 else 0.5 if number % 5 == 0 else rng.uniform(0.1, 2.5)
    t = np.arange(int(seconds * rate)) / rate
    wave = 0.4 * np.sin(2 * np.pi * rng.uniform(80, 1500) * t * (1 + 0.1 * np.sin(5 * t)))
    wave += rng.normal(0, 0.02, len(t))
    stereo = np.stack([wave, wave[::-1]], axis=1) if number % 3 == 0 else wave
    path = folder / f"sound {number}.{suffix}"
    soundfile.write(path, stereo, rate, subtype=subtype)
    return Audio(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """96 pictures, 60 recordings, 60 texts, shuffled."""
    rng = np.random.default_rng(11)
    folder = tmp_path_factory.mktemp("files")
    items: list[Item] = [picture_file(folder, n, rng) for n in range(96)]
    items += [sound_file(folder, n, rng) for n in range(60)]
    items += [Text("".join(rng.choice(WORDS, rng.integers(0, 60)))) for _ in range(60)]
    return [items[i] for i in rng.permutation(len(items))]


PROFILES = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "budget": {"batch_tokens": 512},
}


@pytest.fixture(scope="module", params=PROFILES)
def tiny(request: pytest.FixtureRequest) -> Tokenizer:
    """In each precision that this processor can compute, and with a token budget."""
    try:
        return load("tiny", threads=1, **PROFILES[request.param])
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def alone(tiny: Tokenizer, files: list[Item]) -> list[list[int]]:
    """The ids of each file, one call a file."""
    assert len(files) >= 200
    return [tiny.encode(item).ids.tolist() for item in files]


def test_files_differ_enough_for_the_test_to_mean_something(alone: list[list[int]]) -> None:
    assert len({tuple(ids) for ids in alone}) > 200
    assert sum(map(len, alone)) > 15_000


def test_one_large_batch(tiny: Tokenizer, files: list[Item], alone: list[list[int]]) -> None:
    batch = tiny(files)
    rows = zip(batch.input_ids, batch.attention_mask, strict=True)
    assert [ids[mask].tolist() for ids, mask in rows] == alone


@pytest.mark.parametrize("seed", [0, 1])
def test_any_order_in_batches_of_any_size(
    tiny: Tokenizer, files: list[Item], alone: list[list[int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(files))
    while len(order):
        rows, order = np.split(order, [rng.integers(1, 40)])
        found = tiny.encode_many([files[i] for i in rows])
        assert [e.ids.tolist() for e in found] == [alone[i] for i in rows]


def test_in_the_middle_of_a_row(tiny: Tokenizer, files: list[Item], alone: list[list[int]]) -> None:
    rng = np.random.default_rng(5)
    order = rng.permutation(len(files)).tolist()
    for start in range(0, len(order), 12):
        part = order[start : start + 12]
        encoding = tiny.encode([files[i] for i in part])
        found = [encoding.ids[s.start : s.stop].tolist() for s in encoding.spans]
        assert found == [alone[i] for i in part]


def test_prepared_elsewhere_and_encoded_in_mixed_company(
    tiny: Tokenizer, files: list[Item], alone: list[list[int]]
) -> None:
    """As a job does it: chunks travel through pickle, chunks of many files share device work."""
    preparer = pickle.loads(pickle.dumps(tiny.preparer))
    chunks = [
        (number, position, pickle.loads(pickle.dumps(chunk)))
        for number, item in enumerate(files)
        for position, chunk in enumerate(preparer.chunks([item]))
    ]
    rng = np.random.default_rng(3)
    order = rng.permutation(len(chunks))
    found: dict[int, dict[int, object]] = {}
    while len(order):
        some, order = np.split(order, [rng.integers(1, 90)])
        encoded = tiny.encode_chunks([chunks[i][2] for i in some])
        for i, result in zip(some, encoded, strict=True):
            number, position, _ = chunks[i]
            found.setdefault(number, {})[position] = result
    for number, ids in enumerate(alone):
        parts = [found[number][position] for position in sorted(found[number])]
        assert tiny.assemble(parts).ids.tolist() == ids


def test_whatever_the_process_has_set(
    tiny: Tokenizer, files: list[Item], alone: list[list[int]]
) -> None:
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    some = range(0, len(files), 7)
    try:
        torch.set_num_threads(3)
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = [tiny.encode(files[i]).ids.tolist() for i in some]
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
    assert found == [alone[i] for i in some]


def test_a_path_and_its_bytes_give_the_same_ids(
    tiny: Tokenizer, files: list[Item], alone: list[list[int]]
) -> None:
    for item, ids in list(zip(files, alone, strict=True))[::5]:
        if not isinstance(item, Text):
            content = Path(item.source).read_bytes()
            assert tiny.encode(type(item)(content)).ids.tolist() == ids


# --- real architectures ------------------------------------------------------------------------

NORMS = {
    "group norm, as Wav2Vec2Config()": {},
    "layer norm": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}


def speech_like(seed: int) -> Iterator[Audio]:
    """Recordings of 5 to 20 s, 2,100 s in all: 105,000 frames at 50 Hz."""
    rng, left = np.random.default_rng(seed), 2100.0
    while left > 0:
        seconds = rng.uniform(5, 20)
        t = np.arange(int(seconds * 16_000)) / 16_000
        wave = np.sin(2 * np.pi * rng.uniform(90, 400) * t) * np.abs(np.sin(3 * t)) * 0.3
        yield Audio((wave + rng.normal(0, 0.03, len(t))).astype(np.float32), 16_000)
        left -= seconds


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("norm", NORMS)
def test_wav2vec2_is_bit_equal_over_many_codes(norm: str) -> None:
    """105,000 codes each for both norms; with the picture encoder's own test over 300,000."""
    torch.manual_seed(0)
    encoder = AudioEncoder.of(Wav2Vec2Model(Wav2Vec2Config(**NORMS[norm])), layer=6, normalize=True)
    with NumericsProfile.current().pinned():
        features = encoder(torch.randn(1, 16_000 * 15))[0]
    tokenizer = AudioTokenizer(
        encoder=encoder,
        codebook=Codebook(features[torch.randperm(len(features))[:500]][None]),
        sample_rate_hz=16_000,
        windowing=Windowing(window_frames=500, hop_frames=400),
    )
    chunks = [c for item in speech_like(1) for c in tokenizer.preparer.prepare(item)]
    rng, total = np.random.default_rng(2), 0
    with NumericsProfile.current().pinned():
        for start in range(0, len(chunks), 24):
            some = chunks[start : start + 24]
            together = tokenizer.encode(some)
            for i in rng.permutation(len(some)):
                (by_itself,) = tokenizer.encode([some[i]])
                assert np.array_equal(by_itself, together[i])
                total += len(by_itself)
    assert total >= 100_000
