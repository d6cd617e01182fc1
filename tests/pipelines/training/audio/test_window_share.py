"""Units in windows against units of the whole, counted by hand."""

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from dvse.audio.encoder import AudioEncoder
from dvse.audio.sample_chunks import SampleChunks
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.codebook import Codebook
from dvse.items import Audio
from pipelines.training.audio.window_share import find_long, window_figures

RATE = 16_000


def make(windowing, *, normalize=True, seed=0):
    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    encoder = AudioEncoder.of(Wav2Vec2Model(config), layer=2, normalize=normalize)
    with torch.inference_mode():
        features = encoder(torch.from_numpy(noise(6))[None])[0]
    return AudioTokenizer(
        encoder=encoder,
        codebook=Codebook(features[torch.randperm(len(features))[:40]][None].clone()),
        sample_rate_hz=RATE,
        windowing=windowing,
    )


def noise(seconds, seed=0):
    rng = np.random.default_rng(seed)
    times = np.arange(int(seconds * RATE)) / RATE
    wave = np.sin(2 * np.pi * 200 * times) * np.abs(np.sin(1.7 * times))
    return (0.3 * wave + 0.05 * rng.standard_normal(len(times))).astype(np.float32)


def units(tokenizer, samples):
    chunks = list(tokenizer.preparer.prepare(Audio(samples, sample_rate_hz=RATE)))
    return [codes[:, 0] for codes in tokenizer.encode(chunks)]


def test_the_share_is_that_of_two_tokenizers():
    tokenizer = make(Windowing(window_frames=100, hop_frames=80))
    length = 3 * (99 * 320 + 400)
    samples = noise(9)
    whole = make(Windowing(window_frames=1000, hop_frames=900))
    (expected,) = units(whole, samples[:length])
    mine = np.concatenate(units(tokenizer, samples[:length]))
    figures = window_figures(tokenizer, iter([samples]))["long_recordings"]
    assert 0 < figures["window_share"] < 1
    assert figures["window_share"] == round(float((mine != expected).mean()), 4)
    assert (figures["recordings"], figures["units"]) == (1, len(expected))
    assert "joined" not in figures["how"]


@pytest.mark.parametrize("chunk_samples", [32_000, 32_100])
def test_chunks_are_held_against_the_same_places_of_the_whole(chunk_samples):
    tokenizer = make(SampleChunks(chunk_samples=chunk_samples))
    samples = noise(3 * chunk_samples / RATE + 0.01)
    length = 3 * chunk_samples
    (whole,) = units(make(Windowing(window_frames=1000, hop_frames=900)), samples[:length])
    different = total = 0
    for number, chunk in enumerate(units(tokenizer, samples[:length])):
        places = round(number * chunk_samples / 320) + np.arange(len(chunk))
        different += int((chunk != whole[np.minimum(places, len(whole) - 1)]).sum())
        total += len(chunk)
    figures = window_figures(tokenizer, [samples])["long_recordings"]
    assert figures["units"] == total
    assert figures["window_share"] == round(different / total, 4)


def test_short_recordings_are_joined_and_too_little_sound_says_nothing():
    tokenizer = make(Windowing(window_frames=20, hop_frames=15))
    pieces = [noise(0.5, seed) for seed in range(6)]
    figures = window_figures(tokenizer, pieces)["long_recordings"]
    assert "joined" in figures["how"] and figures["recordings"] == 2
    assert window_figures(tokenizer, pieces[:1]) == {}
    assert window_figures(tokenizer, []) == {}
    found = find_long([np.zeros(3), np.ones(9)], 5)
    assert not found.is_joined and [len(one) for one in found.samples] == [5]


def test_measuring_takes_a_twentieth_of_what_was_learnt_from():
    tokenizer = make(Windowing(window_frames=20, hop_frames=15))
    pieces = [noise(0.5, seed) for seed in range(12)]
    frames = tokenizer.preparer.grid.num_frames(3 * (19 * 320 + 400))  # of a stretch: 60
    for num_stretches, num_frames in [(0, 2 * 20 * frames - 1), (1, 2 * 20 * frames)]:
        figures = window_figures(tokenizer, pieces, num_frames=num_frames)
        assert [one["recordings"] for one in figures.values()] == [1] * num_stretches
    long = [noise(3, seed) for seed in range(3)]  # windows cut these in earnest
    assert window_figures(tokenizer, long, num_frames=1)["long_recordings"]["recordings"] == 1
    assert window_figures(tokenizer, long)["long_recordings"]["recordings"] == 3
