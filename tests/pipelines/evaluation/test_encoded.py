"""Codes and features of inputs: equal to the tokenizer's own, each encoder run once."""

import numpy as np
import pytest

from dvse.items import Audio, Image, as_sequence
from dvse.tokenizer import load
from pipelines.evaluation.encoded import encode_inputs
from pipelines.evaluation.inputs import Input

RNG = np.random.default_rng(0)
ITEMS = {
    "image": [Image(RNG.integers(0, 256, (side, 32, 3), dtype=np.uint8)) for side in (32, 50, 32)],
    "audio": [
        Audio(0.1 * RNG.standard_normal(n).astype(np.float32), sample_rate_hz=8000)
        for n in (4_000, 40_000, 9_000)
    ],
}


@pytest.mark.parametrize("modality", ITEMS)
def test_one_forward_pass_gives_codes_and_features(modality, monkeypatch):
    tokenizer = load("tiny", threads=1)
    media = getattr(tokenizer, modality)
    items = ITEMS[modality]
    chunks = [list(tokenizer.preparer.chunks(as_sequence(item))) for item in items]
    with tokenizer.profile.pinned():
        expected = [np.concatenate(media.encode(mine)) for mine in chunks]
        features = [np.concatenate(media.embed(mine)) for mine in chunks]
    with tokenizer.profile.pinned():
        for _ in range(3):  # until it is known how many rows a short batch needs
            media.embed([chunk for mine in chunks for chunk in mine])
    passes = []
    media.encoder.register_forward_hook(lambda module, args, output: passes.append(len(args[0])))
    with tokenizer.profile.pinned():
        media.embed([chunk for mine in chunks for chunk in mine])
    needed = passes.copy()
    passes.clear()
    inputs = [Input(item=item) for item in items]
    found = encode_inputs(tokenizer, modality, inputs)
    assert passes == needed
    for entry, codes, embedded in zip(found, expected, features, strict=True):
        assert np.array_equal(entry.codes, codes)
        assert entry.features.tobytes() == embedded.tobytes()
