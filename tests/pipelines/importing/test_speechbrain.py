"""A checkpoint and a k-means that SpeechBrain itself saved give the units that it computes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peers import run_in
from transformers import HubertConfig, HubertModel

from dvse.audio.loading import load_audio_tokenizer
from dvse.items import Audio
from pipelines.importing.encoder import EncoderFacts
from pipelines.importing.units import UnitSettings, import_units

CONFIG = HubertConfig(
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=16,
    conv_dim=[8] * 7,
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
)


@pytest.mark.slow
def test_no_unit_of_speechbrain_itself_differs(tmp_path):
    torch.manual_seed(0)
    HubertModel(CONFIG).save_pretrained(tmp_path / "hubert")
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True}
    (tmp_path / "hubert" / "preprocessor_config.json").write_text(json.dumps(extractor))
    samples = (0.2 * np.random.default_rng(0).standard_normal(40_000) + 0.1).astype(np.float32)
    np.save(tmp_path / "samples.npy", samples)
    (tmp_path / "layer.txt").write_text("1")
    script = Path(__file__).parent / "peers" / "write_speechbrain.py"
    run_in("speechbrain", script, tmp_path)
    part = import_units(
        tmp_path / "part",
        centroids=tmp_path / "kmeans.pt",
        encoder=tmp_path / "wav2vec2.ckpt",
        layer=1,
        convention="fairseq",  # whose floor and span are SpeechBrain's: `layer_norm` of the file
        settings=UnitSettings(normalize=True),
        facts=EncoderFacts(pre_norm=False, num_heads=CONFIG.num_attention_heads),
    )
    assert part.provenance["centroids"]["kind"] == "joblib dump of k-means"
    media = load_audio_tokenizer(part.spec, part.folder)
    (chunk,) = media.preparer.prepare(Audio(samples, sample_rate_hz=16_000))
    (codes,) = media.encode([chunk])
    wanted = np.load(tmp_path / "units.npy")
    assert codes[:, 0].tolist() == wanted.tolist() and len(set(wanted.tolist())) > 3
