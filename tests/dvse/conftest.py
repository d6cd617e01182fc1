"""Fixtures for the core: a small text model, fake media tokenizers, and a front door over them.

The fakes fulfil the contract of `MediaTokenizer` with arithmetic that a test can do by hand, so
the front door is tested without weights.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest
import tokenizers
from hypothesis import settings
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from dvse.chunk import Chunk
from dvse.errors import DecodeError, TooShortError
from dvse.items import Item
from dvse.media_tokenizer import MediaTokenizer, Preparer
from dvse.numerics import NumericsProfile, use_threads
from dvse.storage.bundle import Section, write_bundle
from dvse.text.sentencepiece import SentencePieceText
from dvse.tokenizer import Tokenizer, load
from dvse.vocabulary import Vocabulary

# A shared processor makes single examples slow at times; that says nothing about the code.
settings.register_profile("dvse", deadline=None)
settings.load_profile("dvse")

SENTENCES = [
    "The quick brown fox jumps over the lazy dog while seven quiet judges watch.",
    "A picture of a cat, a recording of a seven, and a line of text become integers.",
    "Nothing is lost: every character that goes in comes out again, spaces included.",
    "One two three four five six seven eight nine ten eleven twelve.",
    "文本、图片和语音变成同一串整数，再变回文字。",
    "每一个字符都不会丢失，空格也一样。今天天气很好，我们去公园散步。",
]
GLM_SPECIALS = {
    "<|endoftext|>": True,
    "[MASK]": True,
    "[gMASK]": True,
    "<sop>": True,
    "<|system|>": True,
    "<|user|>": True,
    "<|assistant|>": True,
    "<|observation|>": True,
    "<|begin_of_image|>": True,
    "<|end_of_image|>": True,
    "<think>": False,
    "<tool_call>": False,
}


class FakeImagePreparer(Preparer):
    """Takes arrays `uint8 [H, W, 3]` with sides that are multiples of 4."""

    def prepare(self, item: Item, *, part: int = 0) -> Iterator[Chunk]:
        pixels = item.source
        if not isinstance(pixels, np.ndarray):
            raise DecodeError(f"expected an array, received {pixels!r}")
        grid = pixels.shape[0] // 4, pixels.shape[1] // 4
        yield Chunk(modality="image", part=part, data=pixels, grid=grid)


class FakeImageTokenizer(MediaTokenizer):
    """The code of a 4 × 4 patch is its first red value modulo 16; level 1 the green one."""

    num_codes = 16

    def __init__(self, *, num_levels: int = 1, fixed_grid: tuple[int, int] | None = None) -> None:
        self.num_levels = num_levels
        self.fixed_grid = fixed_grid
        self.max_positions = 64
        self.decoder: object | None = object()
        self.batch_sizes: list[int] = []

    @property
    def preparer(self) -> Preparer:
        return FakeImagePreparer()

    def batch_rows(self, shape: tuple[int, ...]) -> int:
        return 1

    def embed(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        self.batch_sizes.append(len(chunks))
        return [c.data[::4, ::4, : self.num_levels].reshape(-1, self.num_levels) for c in chunks]

    def quantize(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [(corner % 16).astype(np.int32) for corner in features]

    def decode(self, codes: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        return np.kron(codes[:, 0].reshape(grid), np.ones((4, 4))).astype(np.uint8)

    def spec(self) -> dict[str, Any]:
        return {}

    def save_files(self, folder: Path) -> None: ...

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], folder: Path, *, device: str = "cpu") -> Self:
        return cls()


class FakeAudioPreparer(Preparer):
    """Takes arrays; windows of 40 samples at 100 Hz, one code each 10 samples."""

    def prepare(self, item: Item, *, part: int = 0) -> Iterator[Chunk]:
        samples = np.asarray(item.source, dtype=np.float32)
        if len(samples) < 10:
            raise TooShortError(f"expected at least 10 samples, received {len(samples)}")
        for start in range(0, len(samples), 40):
            window = samples[start : start + 40]
            yield Chunk(modality="audio", part=part, data=window, duration_s=len(window) / 100)


class FakeAudioTokenizer(MediaTokenizer):
    """The code of a frame is its first sample, rounded."""

    num_codes, num_levels, frame_rate_hz = 8, 1, 10.0

    def __init__(self, *, merges: bool = False) -> None:
        self.merges = merges

    @property
    def preparer(self) -> Preparer:
        return FakeAudioPreparer()

    def batch_rows(self, shape: tuple[int, ...]) -> int:
        return 1

    def embed(self, chunks: Sequence[Chunk]) -> list[np.ndarray]:
        return [c.data[: len(c.data) // 10 * 10 : 10][:, None] for c in chunks]

    def quantize(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [frames.astype(np.int32) for frames in features]

    def merge(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if not self.merges:
            return codes, None
        starts = np.flatnonzero(np.diff(codes[:, 0], prepend=-1))
        return codes[starts], np.diff(starts, append=len(codes)).astype(np.int32)

    def spec(self) -> dict[str, Any]:
        return {}

    def save_files(self, folder: Path) -> None: ...

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], folder: Path, *, device: str = "cpu") -> Self:
        return cls()


def build_tokenizer(
    text: Any,
    *,
    image: FakeImageTokenizer | None,
    audio: FakeAudioTokenizer | None,
    runs: Sequence[Sequence[int]] = (),
) -> Tokenizer:
    """A front door over fakes."""
    shapes = {
        name: (media.num_codes, media.num_levels)
        for name, media in (("image", image), ("audio", audio))
        if media is not None
    }
    return Tokenizer(
        text=text,
        image=image,
        audio=audio,
        vocabulary=Vocabulary.create(
            text_size=text.size, text_specials=text.special_tokens, **shapes
        ).grow_runs(runs),
        profile=NumericsProfile.current(threads=1),
        name="fake",
        fingerprint="0" * 64,
        sections={"text": Section(spec=text.spec())},
    )


def glm_like_document() -> str:
    """A byte-level BPE `tokenizer.json` with added tokens after its 300 pieces, as GLM-4 has."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 10, trainer)
    for name, special in GLM_SPECIALS.items():
        token = AddedToken(name, special=special, normalized=False)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
    return tokenizer.to_str()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny networks: a second thread costs more in waiting than it computes."""
    with use_threads(1):
        yield


@pytest.fixture(scope="session")
def text_model() -> SentencePieceText:
    """A SentencePiece model of 340 pieces."""
    return SentencePieceText.train(SENTENCES * 20, vocab_size=340)


@pytest.fixture(scope="session")
def glm_document() -> str:
    return glm_like_document()


@pytest.fixture(scope="session")
def fakes(text_model) -> SimpleNamespace:
    """The fake classes and a builder, for tests that want other settings."""
    return SimpleNamespace(
        Image=FakeImageTokenizer,
        Audio=FakeAudioTokenizer,
        build=lambda **media: build_tokenizer(
            media.pop("text", text_model), **{"image": None, "audio": None, **media}
        ),
    )


@pytest.fixture(scope="session")
def tokenizer(fakes) -> Tokenizer:
    """All three modalities; pictures of any grid, recordings of one level."""
    return fakes.build(image=FakeImageTokenizer(num_levels=2), audio=FakeAudioTokenizer())


@pytest.fixture(scope="session")
def text_bundle_once(text_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "words"
    (folder / "text").mkdir(parents=True)
    text_model.save_files(folder / "text")
    write_bundle(
        folder,
        name="words",
        vocabulary=Vocabulary.create(text_size=text_model.size),
        sections={"text": Section(spec=text_model.spec(), metrics={"bytes_per_token": 2.5})},
        card="For tests.",
    )
    return folder


@pytest.fixture
def text_bundle(text_bundle_once, tmp_path) -> Path:
    """A bundle of text alone that the test may spoil."""
    import shutil

    return Path(shutil.copytree(text_bundle_once, tmp_path / "words"))


@pytest.fixture
def edit_json():
    """A function that changes a JSON file in place."""

    def edit(path: Path, **changes: Any) -> None:
        document = json.loads(path.read_text(encoding="utf-8"))
        for key, value in changes.items():
            if value is ...:
                del document[key]
            else:
                document[key] = value
        path.write_text(json.dumps(document), encoding="utf-8")

    return edit


@pytest.fixture(scope="session")
def tiny() -> Tokenizer:
    """The shipped bundle, on one thread."""
    return load("tiny", threads=1)
