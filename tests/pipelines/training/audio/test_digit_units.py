"""The small encoder on a handful of tones: from recordings to a part, and on from there."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dvse.audio.tokenizer import AudioTokenizer
from dvse.errors import ConfigError
from dvse.storage.part import Part
from pipelines.codebooks.clustering import Clustering
from pipelines.codebooks.kmeans import KMeansSettings
from pipelines.speech.clips import Clip
from pipelines.speech.espeak import Span
from pipelines.speech.word_lists import DIGIT_WORDS
from pipelines.training.audio.digit_units import train_digit_units
from pipelines.training.audio.encoder import tiny_encoder_config
from pipelines.training.audio.settings import (
    DigitUnitRecipe,
    SmallEncoder,
    UnitEncoderTraining,
)


def test_the_small_encoder_from_data_to_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    data, rows = tmp_path / "digits", []
    data.mkdir()
    for speaker, index in (("george", 10), ("george", 5), ("lucas", 7)):
        for digit, word in enumerate(DIGIT_WORDS):
            name = f"{digit}_{speaker}_{index}.wav"
            tone = np.sin(np.arange(4_000) * (0.1 + digit / 10)) * 0.3
            soundfile.write(data / name, tone + rng.normal(0, 0.05, 4_000), 8_000)
            rows.append({"audio_filepath": name, "text": word, "speaker": speaker})
    (data / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    speech = Clip(
        samples=rng.normal(0, 0.1, 16_000).astype(np.float32),
        words=(Span(start_s=0.0, label="cat"),),
        phones=(Span(start_s=0.0, label="k"),),
    )
    monkeypatch.setattr(
        "pipelines.training.audio.digit_units.synthesize_words", lambda **options: [speech] * 3
    )
    small = tiny_encoder_config().to_diff_dict() | {
        "hidden_size": 16,
        "intermediate_size": 16,
        "conv_dim": [4, 4, 8],
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    }
    training = UnitEncoderTraining(
        steps=4, digits_per_step=4, crops_per_step=2, align_from=1, encoder=small
    )
    recipe = DigitUnitRecipe(
        data=(data,),
        clustering=Clustering(kmeans=KMeansSettings(num_codes=12)),
        small=SmallEncoder(training=training, hours=0.001, synthetic_share=0.3),
    )
    part = train_digit_units(recipe, tmp_path / "part")
    figures = Part.load(tmp_path / "part", modality="audio").metrics
    assert figures == json.loads(json.dumps(part.metrics))
    assert figures["units"]["unknown"]["frames"] == 240
    assert 0 < figures["units"]["known"]["label_purity"] <= 1
    assert figures["changed"]["known"]["gain_0_5_db"] < 0.05
    assert part.provenance["data"][0]["files"] == 10
    tokenizer = AudioTokenizer.from_spec(part.spec, part.folder)
    assert tokenizer.num_codes == 12
    # The weights are stored in half precision, without loss.
    assert (tmp_path / "part" / "encoder.safetensors").stat().st_size < 2.5 * sum(
        p.numel() for p in tokenizer.encoder.model.parameters()
    ) + 20_000
    training = UnitEncoderTraining(steps=1, learning_rate=1e-9, encoder=small)
    going_on = replace(recipe.small, training=training, start=part.folder)
    further = train_digit_units(replace(recipe, small=going_on), tmp_path / "further")
    assert further.provenance["start"] == part.provenance
    begun = tokenizer.encoder.model.state_dict()
    went_on = AudioTokenizer.from_spec(further.spec, further.folder).encoder.model.state_dict()
    assert all(torch.allclose(went_on[name], value, atol=1e-3) for name, value in begun.items())
    with pytest.raises(ConfigError, match="synthetic share"):
        SmallEncoder(synthetic_share=1.0)
