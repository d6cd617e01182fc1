"""The small encoder learns, aligns, and resumes to the same weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dvse.errors import ConfigError, TrainingError
from pipelines.speech.clips import Clip
from pipelines.speech.espeak import Span
from pipelines.speech.word_lists import DIGIT_WORDS
from pipelines.training.audio.encoder import (
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
