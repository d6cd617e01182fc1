"""Token budgets of a forward pass: how many rows they are, what is refused, where they are said."""

import json
import pickle

import numpy as np
import pytest
import torch

from dvse.audio.windows import Windowing
from dvse.chunk import Chunk, EncodedChunk
from dvse.errors import ConfigError
from dvse.numerics import NumericsProfile
from dvse.onnx_numerics import OnnxProfile
from dvse.row_encoding import encode_rows
from dvse.token_budget import check_batch_tokens, rows_within
from dvse.tokenizer import load


@pytest.mark.parametrize("budget", [0, -3, 2.5, True, "64"])
def test_what_is_no_budget_is_a_sentence(budget):
    with pytest.raises(ConfigError, match="a whole number of at least 1, received"):
        check_batch_tokens(budget)
    for profile in (NumericsProfile, OnnxProfile):
        with pytest.raises(ConfigError, match="batch_tokens"):
            profile.current(batch_tokens=budget)


def test_rows_are_the_largest_power_of_two_that_the_budget_holds():
    for num_tokens in (1, 7, 64, 196):
        for budget in range(1, 3000, 7):
            wanted = max((2**n for n in range(12) if 2**n * num_tokens <= budget), default=1)
            assert rows_within(budget, num_tokens) == wanted


@pytest.mark.parametrize("profile", [NumericsProfile, OnnxProfile])
def test_a_profile_names_it_only_where_somebody_chose_it(profile):
    plain, chosen = profile.current(threads=1), profile.current(threads=1, batch_tokens=512)
    assert "batch_tokens" not in plain.to_dict()
    assert chosen.to_dict() == plain.to_dict() | {"batch_tokens": 512}
    for one in (plain, chosen):
        assert profile.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert chosen.differences(plain) == ["batch_tokens: 512 here, missing there"]


def test_the_tokenizers_of_a_bundle_take_it_and_a_pickle_comes_back_with_it():
    plain, chosen = load("tiny", threads=1), load("tiny", threads=1, batch_tokens=2048)
    picture = (32, 32, 3)
    assert chosen.image.batch_rows(picture) == 2048 // chosen.image.num_tokens(picture)
    windowing, grid = chosen.audio.preparer.windowing, chosen.audio.preparer.grid
    window = (windowing.full_samples(grid),)
    assert chosen.audio.num_tokens(window) == windowing.full_frames(grid)
    assert chosen.audio.batch_rows(window) == rows_within(2048, windowing.full_frames(grid))
    assert chosen.audio.batch_rows((window[0] - 1,)) == 1
    assert plain.image.batch_tokens is plain.audio.batch_tokens is None
    assert plain.image.batch_rows(picture) == 1024 // plain.image.num_tokens(picture)
    again = pickle.loads(pickle.dumps(chosen))
    assert again.profile == chosen.profile and again.profile.batch_tokens == 2048
    other = chosen.audio.with_windowing(Windowing(window_frames=16, hop_frames=8))
    assert other.batch_tokens == 2048


def test_a_budget_has_to_hold_a_picture_or_a_window():
    tokenizer = load("tiny", threads=1)
    least = min(tokenizer.image.max_chunk_tokens, tokenizer.audio.max_chunk_tokens)
    assert load("tiny", threads=1, batch_tokens=least).profile.batch_tokens == least
    with pytest.raises(ConfigError, match=rf"at least {least}, a .* of this bundle, received 3"):
        load("tiny", threads=1, batch_tokens=3)


def on(kind, media, monkeypatch):
    """A tokenizer that counts rows as it would on a device of this kind; nothing is computed."""
    other = media.with_batch_tokens(None)
    monkeypatch.setattr(other, "device", torch.device(kind))
    return other


@pytest.mark.parametrize(
    ("kind", "frames", "wanted"),
    [
        # At most 256 frames on a processor, 12,000 on a card, and the rows a power of two.
        ("cpu", 64, 4),
        ("cpu", 255, 1),
        ("cpu", 1500, 1),
        ("cuda", 64, 128),  # 187
        ("cuda", 255, 32),  # 47
        ("cuda", 1000, 8),  # 12
        ("cuda", 1500, 8),
        ("cuda", 4999, 2),  # a window of 100 s
        ("cuda", 12_001, 1),
    ],
)
def test_rows_of_sound_where_nobody_chose(kind, frames, wanted, monkeypatch):
    tokenizer = load("tiny", threads=1)
    media = tokenizer.audio.with_windowing(Windowing(window_frames=frames, hop_frames=frames))
    media = on(kind, media, monkeypatch)
    full = media.preparer.windowing.full_samples(media.preparer.grid)
    assert media.batch_rows((full,)) == wanted
    assert media.batch_rows((full - 1,)) == 1  # a recording of another length is alone


@pytest.mark.parametrize(
    ("kind", "side", "wanted"),
    [
        ("cpu", 32, 16),  # 64 tokens of 1,024
        ("cpu", 56, 5),  # 196 tokens, as a ViT of patches of 16 has of 224 pixels
        ("cuda", 32, 256),  # of 16,384
        ("cuda", 56, 83),
        ("cuda", 512, 1),
    ],
)
def test_rows_of_pictures_where_nobody_chose(kind, side, wanted, monkeypatch):
    media = on(kind, load("tiny", threads=1).image, monkeypatch)
    assert media.num_tokens((side, side, 3)) == (side // 4) ** 2
    assert media.batch_rows((side, side, 3)) == wanted


@pytest.mark.parametrize(("batch_rows", "wanted"), [(1, [64, 36]), (80, [80, 20]), (500, [100])])
def test_rows_wait_for_each_other_until_a_batch_is_full(batch_rows, wanted):
    sizes = []

    def encode(chunks):
        sizes.extend([len(chunks)] if chunks else [])
        return [EncodedChunk(modality="image", codes=chunk.data[0, 0]) for chunk in chunks]

    found = encode_rows(
        range(100),
        chunks_of=lambda n: [Chunk(modality="image", data=np.full((1, 1, 3), n, np.uint8))],
        encode=encode,
        assemble=lambda encoded: int(encoded[0].codes[0]),
        batch_rows=lambda chunk: batch_rows,
    )
    assert list(found) == list(range(100))
    assert sizes == wanted
