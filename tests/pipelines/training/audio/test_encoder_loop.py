"""The small encoder learns, aligns, and resumes to the same weights."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from dvse.audio.windows import FrameGrid
from dvse.errors import ConfigError, TrainingError
from pipelines.speech.augmentation import perturb, vary
from pipelines.speech.clips import Clip
from pipelines.speech.espeak import SILENCE, Span
from pipelines.speech.phones import DIGIT_PHONES, PHONES, phone_index
from pipelines.speech.word_lists import DIGIT_WORDS
from pipelines.training.audio.alignment import align_phones, best_path
from pipelines.training.audio.batches import Batch
from pipelines.training.audio.encoder import (
    IGNORED,
    NO_DIGIT,
    tiny_encoder_config,
)
from pipelines.training.audio.encoder_loop import train_unit_encoder
from pipelines.training.audio.settings import UnitEncoderTraining

SMALL = tiny_encoder_config().to_diff_dict() | {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [4, 4, 8],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


def settings(**changes: object) -> UnitEncoderTraining:
    fields = {
        "steps": 6,
        "digits_per_step": 4,
        "crops_per_step": 2,
        "align_from": 2,
        "warmup": 2,
        "checkpoint_every": 3,
        "encoder": SMALL,
    }
    return UnitEncoderTraining(**fields | changes)


def clips() -> tuple[list[Clip], list[Clip]]:
    rng = np.random.default_rng(0)
    recorded = [
        Clip(
            samples=rng.standard_normal(4_000 + 100 * d).astype(np.float32),
            words=(Span(start_s=0.0, label=DIGIT_WORDS[d]),),
        )
        for d in range(10)
    ]
    words = (Span(start_s=0.0, label="seven"), Span(start_s=0.5, label="cat"))
    phones = tuple(Span(start_s=i / 10, label=p) for i, p in enumerate("sɛvənkæt"))
    synthetic = [
        Clip(samples=rng.standard_normal(8_000).astype(np.float32), words=words, phones=phones)
    ]
    return recorded, synthetic


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    recorded, synthetic = clips()
    whole = train_unit_encoder(settings(), recorded, synthetic, checkpoint=tmp_path / "whole")
    # As if killed after step 3: run only that far, under the settings of the whole run.
    seen = []
    original = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(1)
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(KeyboardInterrupt):
            train_unit_encoder(settings(), recorded, synthetic, checkpoint=tmp_path / "killed")
    resumed = train_unit_encoder(settings(), recorded, synthetic, checkpoint=tmp_path / "killed")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_of_other_settings_clips_or_start_is_refused(tmp_path: Path) -> None:
    path, (recorded, synthetic) = tmp_path / "checkpoint", clips()
    begun = train_unit_encoder(settings(steps=3), recorded, synthetic, checkpoint=path)
    with pytest.raises(TrainingError, match="made with seed = 0, now it is 1"):
        train_unit_encoder(settings(steps=3, seed=1), recorded, synthetic, checkpoint=path)
    louder = [replace(recorded[0], samples=recorded[0].samples * 2), *recorded[1:]]
    renamed = [replace(recorded[0], words=recorded[1].words), *recorded[1:]]
    for others in (louder, renamed):
        with pytest.raises(TrainingError, match="made with recorded = "):
            train_unit_encoder(settings(steps=3), others, synthetic, checkpoint=path)
    with pytest.raises(TrainingError, match="made with synthetic = "):
        train_unit_encoder(settings(steps=3), recorded, synthetic * 2, checkpoint=path)
    with pytest.raises(TrainingError, match="made with start = None, now it is"):
        train_unit_encoder(settings(steps=3), recorded, synthetic, start=begun, checkpoint=path)
    # How often progress is kept decides no weight.
    often = settings(steps=3, checkpoint_every=1)
    train_unit_encoder(often, recorded, synthetic, checkpoint=path)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch) -> None:
    path, (recorded, synthetic) = tmp_path / "checkpoint", clips()
    train_unit_encoder(settings(steps=3), recorded, synthetic, checkpoint=path)
    before = path.read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.runs.checkpoint.torch.save", full)
    other = tmp_path / "other"
    with pytest.raises(TrainingError, match="checkpoint cannot be written"):
        train_unit_encoder(settings(steps=3), recorded, synthetic, checkpoint=other)
    assert path.read_bytes() == before and not other.exists()


def test_settings_and_data_that_cannot_be_trained() -> None:
    with pytest.raises(ConfigError, match="steps >= 1"):
        settings(steps=0)
    with pytest.raises(TrainingError, match="received none"):
        train_unit_encoder(settings(), [], clips()[1])


def test_the_shipped_shape() -> None:
    config = tiny_encoder_config()
    grid = FrameGrid.of(config.conv_kernel, config.conv_stride)
    assert (grid.stride, grid.reach) == (160, 288)  # 50 frames a second at 8 kHz


def test_the_best_path_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        log_probs = np.log(rng.dirichlet(np.ones(5), size=6))
        phones = [2, 4, 2]
        found = best_path(log_probs, phones)
        states = [0, *phones, 0]
        scores = []
        # Every way to cut six frames into the states, silence at either end optional.
        for first, last in ((0, 4), (0, 3), (1, 4), (1, 3)):
            used = states[first : last + 1]
            for cuts in combinations(range(1, 6), len(used) - 1):
                path = np.repeat(used, np.diff([0, *cuts, 6]))
                scores.append(log_probs[np.arange(6), path].sum())
        assert log_probs[np.arange(6), found].sum() == pytest.approx(max(scores))
    assert best_path(np.zeros((2, 5)), [1, 2, 3]).tolist() == [IGNORED, IGNORED]


def test_augmentation_keeps_what_is_said() -> None:
    rng = np.random.default_rng(0)
    samples = np.sin(np.arange(8_000) * 0.2).astype(np.float32)
    assert len(vary(samples, rng, speed=1.25)) == 6_400
    assert len(vary(samples, rng, speed=0.8)) == 10_000
    noisy = perturb(samples, rng, min_noise=0.1, max_noise=0.1)
    assert noisy.dtype == np.float32
    assert np.std(noisy - samples) == pytest.approx(0.1 * np.sqrt(0.5), rel=0.1)


def test_pauses_between_digits_are_silence_and_each_digit_follows_its_pronunciation() -> None:
    seven = phone_ids("seven")
    labels = [NO_DIGIT] * 2 + [7] * 5 + [NO_DIGIT] * 3 + [7] * 6 + [NO_DIGIT, 7]
    digits = torch.tensor([[*labels, *[IGNORED] * 2]])
    batch = Batch(
        views=torch.zeros(2, 1, 0),
        mask=torch.zeros(1, 0, dtype=torch.int64),
        phones=torch.full_like(digits, IGNORED),
        digits=digits,
        to_align=np.array([True]),
    )
    logits = torch.zeros(1, 20, len(PHONES))
    logits[0, 12, seven[1]] = 9.0  # in the second one the vowel is heard in its third frame
    found = align_phones(logits, batch)[0].tolist()
    assert found[:2] + found[7:10] + found[16:17] == [phone_index(SILENCE)] * 6
    assert found[2:7] == seven  # five frames, five phones
    assert found[12] == seven[1]
    assert found[17:] == [IGNORED] * 3  # the last digit is cut off, then comes padding


def test_training_goes_on_from_an_encoder() -> None:
    recorded, synthetic = clips()
    begun = train_unit_encoder(settings(steps=2), recorded, synthetic)
    same = train_unit_encoder(
        settings(steps=1, learning_rate=1e-12), recorded, synthetic, start=begun
    )
    for name, value in begun.state_dict().items():
        assert torch.allclose(same.state_dict()[name], value, atol=1e-6), name
    other = settings(encoder=SMALL | {"hidden_size": 8})
    with pytest.raises(TrainingError, match="shape in the settings"):
        train_unit_encoder(other, recorded, synthetic, start=begun)


def phone_ids(word: str) -> list[int]:
    return [phone_index(phone) for phone in DIGIT_PHONES[DIGIT_WORDS.index(word)]]
