"""Precisions and budgets: what a device cannot do is one sentence, neighbours change nothing."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
import torch
from transformers import WavLMConfig, WavLMModel

from dvse.audio.encoder import AudioEncoder, EncoderConfig
from dvse.audio.tokenizer import AudioTokenizer
from dvse.audio.windows import Windowing
from dvse.codebook import Codebook
from dvse.errors import ConfigError, FeatureOverflowError
from dvse.image.encoder import EncoderConfig as ImageConfig
from dvse.image.encoder import ImageEncoder
from dvse.image.geometry import SquareGeometry
from dvse.image.quantizer import CodebookQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.items import Audio, Image
from dvse.numerics import NumericsProfile
from dvse.precision import PRECISIONS, cast_weights, check_precision
from dvse.tokenizer import load
from pipelines.cli import main

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def can(precision):
    try:
        check_precision(precision, "cpu")
    except ConfigError:
        return False
    return True


needs_bfloat16 = pytest.mark.skipif(not can("bfloat16"), reason="no bfloat16 on this processor")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_processor_is_asked_and_answers_in_a_sentence(precision, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    if precision == "float32":
        return check_precision(precision, "cpu")
    with pytest.raises(ConfigError, match=f"no instructions for {precision} .*; use float32"):
        NumericsProfile.current(precision=precision)
    features = {"avx512_bf16": True, "avx512_fp16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert NumericsProfile.current(precision=precision).precision == precision


@pytest.mark.parametrize(
    ("capability", "able"),
    [
        ((6, 1), {"float32"}),
        ((7, 5), {"float32", "float16"}),
        ((8, 0), set(PRECISIONS)),
        ((9, 0), set(PRECISIONS)),
    ],
)
def test_what_cards_can_do(capability, able, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Some card")
    for precision in PRECISIONS:
        if precision in able:
            check_precision(precision, "cuda:0")
        else:
            with pytest.raises(ConfigError, match=r"Some card \(compute capability .* cannot"):
                check_precision(precision, "cuda:0")


def test_unknown_precisions_and_absent_cards():
    with pytest.raises(ConfigError, match="among float32, tf32, bfloat16, float16"):
        load("tiny", precision="int8")
    with pytest.raises(ConfigError, match="no such card"):
        check_precision("bfloat16", "cuda:99")


def test_products_of_a_tf32_profile_may_be_rounded_and_are_put_back():
    profile = NumericsProfile.current(threads=1)
    rounded = NumericsProfile.from_dict(profile.to_dict() | {"precision": "tf32"})
    with rounded.pinned():
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction


def audio(precision, *, architecture="hubert"):
    torch.manual_seed(0)
    if architecture == "wavlm":
        encoder = AudioEncoder.of(WavLMModel(WavLMConfig(**SMALL)), layer=2, normalize=True)
    else:
        config = EncoderConfig(
            architecture=architecture, layer=2, normalize=True, config=dict(SMALL)
        )
        encoder = AudioEncoder(config, config.build_frozen())
    book = torch.randn(1, 60, 32, generator=torch.Generator().manual_seed(1))
    return AudioTokenizer(
        encoder=encoder,
        codebook=Codebook(book),
        sample_rate_hz=16_000,
        windowing=Windowing(window_frames=60, hop_frames=40),
        precision=precision,
    )


def image(precision, name, **options):
    torch.manual_seed(0)
    encoder = ImageEncoder(ImageConfig(name=name, **options))
    book = torch.randn(1, 60, encoder.dim, generator=torch.Generator().manual_seed(1))
    return ImageTokenizer(
        encoder=encoder,
        quantizer=CodebookQuantizer(Codebook(book)),
        geometry=SquareGeometry(size=32, patch_size=encoder.patch_size),
        precision=precision,
    )


VIT = {"img_size": 32, "depth": 2, "embed_dim": 48, "num_heads": 2}
ROPE = VIT | {
    "patch_size": 4,
    "dynamic_img_size": True,
    "class_token": False,
    "use_abs_pos_emb": False,
    "global_pool": "avg",
    "num_classes": 0,
}
MAKERS = {
    "wav2vec2": lambda precision: audio(precision, architecture="wav2vec2"),
    "hubert": audio,
    "wavlm": lambda precision: audio(precision, architecture="wavlm"),
    "vit": lambda p: image(p, "vit_tiny_patch16_224", options=VIT),
    "beit": lambda p: image(p, "beit_base_patch16_224", options=VIT),
    "eva": lambda p: image(p, "eva02_tiny_patch14_224", options=VIT | {"patch_size": 16}),
    "rotary and a stem with batch norm": lambda p: image(
        p, "vit_small_patch16_rope_224", options=ROPE, norm=False, stem_widths=(16, 24)
    ),
}


def chunks_of(media):
    rng = np.random.default_rng(0)
    if isinstance(media, AudioTokenizer):
        items = [
            Audio((0.3 * rng.standard_normal(int(16_000 * s))).astype(np.float32), 16_000)
            for s in (0.5, 0.5, 3.1, 1.0, 0.5)
        ]
    else:
        items = [Image(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(5)]
    return [chunk for item in items for chunk in media.preparer.prepare(item)]


@needs_bfloat16
@pytest.mark.parametrize("kind", MAKERS)
def test_in_bfloat16_neighbours_change_nothing_and_features_are_near(kind):
    exact, rounded = MAKERS[kind]("float32"), MAKERS[kind]("bfloat16")
    assert {p.dtype for p in rounded.encoder.parameters()} >= {torch.bfloat16}
    chunks = chunks_of(rounded)
    with NumericsProfile.current(threads=1, precision="bfloat16").pinned():
        together = rounded.embed(chunks)
        for number, chunk in enumerate(chunks):
            (alone,) = rounded.embed([chunk])
            assert alone.dtype == np.float32
            assert np.array_equal(alone, together[number])
            (codes,) = rounded.encode([chunk])
            assert np.array_equal(codes, rounded.quantize([alone])[0])
    with NumericsProfile.current(threads=1).pinned():
        wanted = exact.embed(chunks)
    errors = [
        np.abs(a - b).mean() / np.abs(b).mean() for a, b in zip(together, wanted, strict=True)
    ]
    assert 0 < max(errors) < 0.05


@pytest.mark.parametrize("num_chunks", [1, 4, 32])
@pytest.mark.parametrize("kind", MAKERS)
def test_within_a_budget_neighbours_and_places_change_nothing(kind, num_chunks):
    media = MAKERS[kind]("float32")
    media = media.with_batch_tokens(num_chunks * media.max_chunk_tokens)
    chunks = chunks_of(media)
    shape = max(chunk.shape for chunk in chunks)
    assert media.batch_rows(shape) == num_chunks
    with NumericsProfile.current(threads=1).pinned():
        forwards, backwards = media.embed(chunks), media.embed(chunks[::-1])[::-1]
        for chunk, one, two in zip(chunks, forwards, backwards, strict=True):
            assert np.array_equal(one, two)
            (alone,) = media.embed([chunk])
            assert np.array_equal(alone, one)
            (codes,) = media.encode([chunk])
            assert np.array_equal(codes, media.quantize([alone])[0])


@needs_bfloat16
def test_rounded_weights_are_not_saved_and_a_pickle_comes_back_in_its_precision(tmp_path):
    tokenizer = load("tiny", precision="bfloat16", threads=1)
    assert tokenizer.profile.precision == "bfloat16"
    with pytest.raises(ConfigError, match="load it in float32 to save it"):
        tokenizer.save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.profile == tokenizer.profile
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 12_000).astype(np.float32)
    item = Audio(samples, 8_000)
    assert again.encode(item).ids.tolist() == tokenizer.encode(item).ids.tolist()


def test_a_copy_that_is_cast_leaves_the_original_alone():
    encoder = audio("float32").encoder
    samples = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = encoder(samples)
        cast_weights(copy.deepcopy(encoder), "bfloat16")
        assert torch.equal(encoder(samples), before)


@pytest.fixture
def loud(tmp_path, monkeypatch):
    """A bundle whose features of what is not grey pass 65,504, and a picture of either kind."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_fp16": True})
    # Processors without it are slow in float16.
    monkeypatch.setattr("dvse.image.tokenizer._BATCH_TOKENS", {"cpu": 64})
    tokenizer = load("tiny", threads=1)
    stem = tokenizer.image.encoder.backbone.patch_embed
    first = next(m for m in stem.modules() if isinstance(m, torch.nn.Conv2d))
    with torch.no_grad():
        first.weight.mul_(20_000 / first.weight.abs().max())
    tokenizer.save(tmp_path / "loud")
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    (tmp_path / "pictures").mkdir()
    for name, pixels in (("a", noise // 255 + 127), ("b", noise), ("c", noise // 255 + 128)):
        PIL.Image.fromarray(pixels).save(tmp_path / "pictures" / f"{name}.png")
    return tmp_path


def test_an_overflow_in_float16_costs_its_row_and_says_which(loud):
    tokenizer = load(loud / "loud", precision="float16", threads=1)
    rows = [Image(loud / "pictures" / f"{name}.png") for name in "abc"]
    found = list(tokenizer.encode_many(rows))
    with pytest.raises(FeatureOverflowError, match=r"b\.png: .* NaN or infinity in float16, which"):
        raise found[1]
    for place in (0, 2):
        assert found[place].ids.tolist() == tokenizer.encode(rows[place]).ids.tolist()
    with pytest.raises(FeatureOverflowError, match=r"row 1: .*b\.png"):
        tokenizer(rows)
    exact = load(loud / "loud", threads=1)
    assert not any(isinstance(one, Exception) for one in exact.encode_many(rows))


def test_an_overflow_in_a_job_is_an_error_line_that_names_file_and_precision(loud):
    more = ["--precision", "float16", "--workers", "0", "--threads", "1"]
    command = ["tokenize", str(loud / "pictures"), "--bundle", str(loud / "loud"), *more]
    assert main([*command, "--output", str(loud / "tokens"), "--max-error-rate", "1"]) == 0
    rows = pq.read_table(next((loud / "tokens").rglob("*.parquet"))).to_pylist()
    assert [Path(row["source"]).name for row in rows] == ["a.png", "c.png"]
    (line,) = (loud / "tokens" / "errors.jsonl").read_text().splitlines()
    assert "b.png" in json.loads(line)["source"] and "infinity in float16" in line


def test_a_weight_too_large_for_float16_is_refused():
    layer = torch.nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight[0, 0] = 70_000
    with pytest.raises(ConfigError, match="beyond the range of float16"):
        cast_weights(layer, "float16")
