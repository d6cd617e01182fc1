"""Features in the place of codes: the same rows, and a decoder that learns from them."""

import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import nn

import dvse
from dvse.storage.shard import read_shard, shard_name
from pipelines.tiny.continuous.comparison import compare
from pipelines.tiny.continuous.embedding import ContinuousEmbedding, feature_ids
from pipelines.tiny.continuous.rows import FeatureTables, write_rows
from pipelines.training.decoder.recipe import DecoderRecipe, DecoderTraining

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}


@pytest.fixture(scope="module")
def tokenizer():
    return dvse.load("tiny", threads=1)


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chats")
    rng = np.random.default_rng(0)
    for name, brightest in (("a.png", 40), ("b.png", 256)):
        pixels = rng.integers(0, brightest, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    soundfile.write(folder / "c.wav", rng.uniform(-0.5, 0.5, 4000), 8000)
    media = [{"type": "image", "image": "a.png"}, {"type": "image", "image": "b.png"}]
    media.append({"type": "audio", "audio": "c.wav"})
    rows = [
        {
            "messages": [
                {"role": "user", "content": [part, {"type": "text", "text": "What is this?"}]},
                {"role": "assistant", "content": answer},
            ]
        }
        for part, answer in zip(media, ("a cat", "a dog", "seven"), strict=True)
    ]
    path = folder / "conversations.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def written(chats, tokenizer, tmp_path_factory):
    tables = FeatureTables()
    rows = write_rows(chats, tokenizer, tables, tmp_path_factory.mktemp("rows"))
    return rows, tables.arrays()


def ids_of(folder):
    rows = read_shard(folder / shard_name(0))
    return [np.asarray(row) for row in rows["ids"].to_pylist()], rows["loss_mask"].to_pylist()


def test_plain_ids_are_looked_up_and_features_are_mapped():
    plain = nn.Embedding(10, 4)
    tables = [np.array([[1, 2], [5, 3]], np.float16), np.array([[1, 2, 6]], np.float16)]
    embedding = ContinuousEmbedding(plain, tables)
    ids = torch.tensor([3, *feature_ids(10, "image", 1, 1), *feature_ids(10, "audio", 0, 1)])
    found = embedding(ids)
    assert torch.equal(found[0], plain.weight[3])
    # Normalised by hand: (5, 3) has mean 4 and deviation 1, (1, 2, 6) mean 3 and variance 14/3.
    image = torch.tensor([1.0, -1.0]) @ embedding.maps[0].weight.T
    audio = torch.tensor([-2.0, -1.0, 3.0]) / (14 / 3) ** 0.5 @ embedding.maps[1].weight.T
    assert torch.allclose(found[1], image, atol=1e-4)
    assert torch.allclose(found[2], audio, atol=1e-4)
    found.sum().backward()
    assert plain.weight.grad is not None
    assert all(linear.weight.grad.any() for linear in embedding.maps)


def test_both_forms_differ_in_the_codes_alone(written, tokenizer):
    rows, _ = written
    (discrete, masks), (continuous, other_masks) = ids_of(rows.discrete), ids_of(rows.continuous)
    assert masks == other_masks
    size = tokenizer.vocabulary.size
    for one, other, kind in zip(discrete, continuous, ("image", "image", "audio"), strict=True):
        codes = tokenizer.vocabulary.code_ids(kind, np.arange(tokenizer.vocabulary.num_codes(kind)))
        assert np.array_equal(other >= size, np.isin(one, codes))
        assert np.array_equal(one[other < size], other[other < size])


def test_features_are_those_of_the_file(written, tokenizer, chats):
    rows, (image, audio) = written
    second = ids_of(rows.continuous)[0][1]
    numbers = (second[second >= tokenizer.vocabulary.size] - tokenizer.vocabulary.size) // 2
    chunks = list(tokenizer.preparer.chunks([dvse.Image(str(chats.parent / "b.png"))]))
    (expected,) = tokenizer.image.embed(chunks)
    assert np.allclose(image[numbers], expected, rtol=2e-3, atol=2e-3)
    assert len(image) == 2 * len(expected)
    assert len(audio) == int((ids_of(rows.continuous)[0][2] >= tokenizer.vocabulary.size).sum())


def test_both_decoders_learn_and_answer(chats, tokenizer, tmp_path):
    training = DecoderTraining(
        max_steps=120,
        batch_size=1,
        length=128,
        learning_rate=1e-2,
        warmup_steps=5,
        save_every=100,
        sample_every=1000,
    )
    recipe = DecoderRecipe(model=SHAPE, training=training)
    found = compare(chats, chats, tokenizer, recipe, tmp_path)
    assert (found["rows"], found["steps"]) == (3, 120)
    for name in ("discrete", "continuous"):
        assert found[name]["answer_loss"] < 0.5
        assert found[name]["exact_image"] == found[name]["exact_audio"] == 1
        assert (found[name]["asked_image"], found[name]["asked_audio"]) == (2, 1)
