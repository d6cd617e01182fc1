import io
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from safetensors.torch import save_file
from torch import nn

from dvse.codebook import Codebook
from dvse.errors import (
    BundleFormatError,
    BundleIntegrityError,
    ConfigError,
    IdRangeError,
    ItemTypeError,
    UnsafeFileError,
)
from dvse.image.encoder import EncoderConfig, ImageEncoder
from dvse.image.geometry import AspectGeometry, SquareGeometry
from dvse.image.hub_weights import HubWeights
from dvse.image.pixel_decoder import DecoderConfig, PixelDecoder
from dvse.image.quantizer import CodebookQuantizer, LatticeQuantizer
from dvse.image.tokenizer import ImageTokenizer
from dvse.items import Image, Text
from dvse.storage.file_hash import file_sha256

OPTIONS = {
    "img_size": 32,
    "patch_size": 4,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 4,
    "dynamic_img_size": True,
    "class_token": False,
    "use_abs_pos_emb": False,
    "global_pool": "avg",
}


def make_tokenizer(*, lattice=False, decoder=True, levels=1, seed=0) -> ImageTokenizer:
    torch.manual_seed(seed)
    config = EncoderConfig(name="vit_small_patch16_rope_224", options=OPTIONS, stem_widths=(8, 16))
    encoder = ImageEncoder(config)
    if lattice:
        quantizer = LatticeQuantizer(
            levels=(5, 5, 3), project_in=nn.Linear(32, 3), project_out=nn.Linear(3, 32)
        )
    else:
        quantizer = CodebookQuantizer(
            Codebook(torch.randn(levels, 64, 8), metric="cosine" if levels == 1 else "euclidean"),
            project_in=nn.Linear(32, 8),
            project_out=nn.Linear(8, 32),
        )
    return ImageTokenizer(
        encoder=encoder,
        quantizer=quantizer,
        geometry=AspectGeometry(patch_size=4, max_tokens=256),
        decoder=PixelDecoder(DecoderConfig(dim=32, widths=(16, 8, 8))) if decoder else None,
    )


@pytest.fixture(scope="module")
def tokenizer() -> ImageTokenizer:
    return make_tokenizer()


def pictures(count: int, seed=0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = rng.choice([8, 20, 32, 32, 40, 64], (count, 2))
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]


def chunks_of(tokenizer, arrays):
    return [c for array in arrays for c in tokenizer.preparer.prepare(Image(array))]


def test_codes_have_the_grids_shape(tokenizer):
    for chunk, codes in zip(
        (chunks := chunks_of(tokenizer, pictures(12))), tokenizer.encode(chunks), strict=True
    ):
        assert codes.shape == (chunk.grid[0] * chunk.grid[1], 1) and codes.dtype == np.int32
        assert 0 <= codes.min() and codes.max() < tokenizer.num_codes
    assert tokenizer.encode([]) == []


def test_codes_and_features_are_bit_equal_alone_and_among_any_neighbours(tokenizer):
    chunks = chunks_of(tokenizer, pictures(60))
    alone = [tokenizer.encode([chunk])[0] for chunk in chunks]
    features = [tokenizer.embed([chunk])[0] for chunk in chunks]
    rng = np.random.default_rng(3)
    for size in (2, 7, 31, 60):
        order = rng.permutation(len(chunks))
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            together = tokenizer.encode([chunks[i] for i in batch])
            for i, codes in zip(batch, together, strict=True):
                assert np.array_equal(codes, alone[i])
    for found, expected in zip(tokenizer.embed(chunks[::-1]), features[::-1], strict=True):
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("lattice", "levels"), [(False, 1), (False, 3), (True, 1)])
def test_codes_are_the_quantized_features_of_any_grid(lattice, levels):
    tokenizer = make_tokenizer(lattice=lattice, levels=levels)
    assert (tokenizer.codebook is None) == lattice
    chunks = chunks_of(tokenizer, pictures(40))
    features = tokenizer.embed(chunks)
    codes = tokenizer.encode(chunks)
    for start, stop in ((0, 40), (3, 4), (5, 17)):
        found = tokenizer.quantize(features[start:stop])
        for one, expected in zip(found, codes[start:stop], strict=True):
            assert one.dtype == np.int32 and np.array_equal(one, expected)


def test_a_draft_embeds_and_does_no_more(tokenizer, tmp_path):
    draft = ImageTokenizer(encoder=tokenizer.encoder, quantizer=None, geometry=tokenizer.geometry)
    chunks = chunks_of(draft, pictures(3))
    for found, expected in zip(draft.embed(chunks), tokenizer.embed(chunks), strict=True):
        assert found.tobytes() == expected.tobytes()
    for call in (lambda: draft.encode(chunks), draft.spec, lambda: draft.save_files(tmp_path)):
        with pytest.raises(ConfigError, match="draft without a codebook"):
            call()
    assert not list(tmp_path.iterdir())


def test_embed_is_what_the_codes_are_nearest_to(tokenizer):
    chunks = chunks_of(tokenizer, pictures(5))
    for features, codes in zip(tokenizer.embed(chunks), tokenizer.encode(chunks), strict=True):
        assert features.dtype == np.float32
        with torch.no_grad():
            projected = tokenizer.quantizer.project_in(torch.from_numpy(features))
        similarity = nn.functional.normalize(projected, dim=-1) @ (
            tokenizer.quantizer.codebook.centroids[0].T
        )
        assert np.array_equal(similarity.argmax(-1).numpy(), codes[:, 0])


@pytest.mark.parametrize(("lattice", "levels"), [(False, 1), (False, 3), (True, 1)])
def test_save_and_load_keep_every_code(lattice, levels, tmp_path):
    first = make_tokenizer(lattice=lattice, levels=levels)
    first.save_files(tmp_path)
    spec = json.loads(json.dumps(first.spec()))
    saved = ImageTokenizer.from_spec(spec, tmp_path)
    (tmp_path / "again").mkdir()
    saved.save_files(tmp_path / "again")
    again = ImageTokenizer.from_spec(saved.spec(), tmp_path / "again")
    assert saved.spec() == spec and saved.num_levels == levels
    chunks = chunks_of(saved, pictures(10))
    for chunk, left, right in zip(chunks, saved.encode(chunks), again.encode(chunks), strict=True):
        assert left.shape[1] == levels
        assert np.array_equal(left, right)
        assert np.array_equal(saved.decode(left, chunk.grid), again.decode(right, chunk.grid))
    assert {p.suffix for p in tmp_path.glob("*.*")} == {".safetensors"}


def test_decode(tokenizer):
    (chunk,) = chunks_of(tokenizer, [np.zeros((20, 32, 3), np.uint8)])
    (codes,) = tokenizer.encode([chunk])
    picture = tokenizer.decode(codes, chunk.grid)
    assert picture.shape == (20, 32, 3) and picture.dtype == np.uint8
    assert np.array_equal(tokenizer.decode(codes[:, 0].tolist(), (5, 8)), picture)
    with pytest.raises(IdRangeError, match="5x7"):
        tokenizer.decode(codes, (5, 7))
    with pytest.raises(IdRangeError, match=r"0\.\.63"):
        tokenizer.decode(codes + 64, chunk.grid)
    with pytest.raises(ConfigError, match="decoder"):
        make_tokenizer(decoder=False).decode(codes, chunk.grid)


def test_a_residual_level_comes_closer(tmp_path):
    tokenizer = make_tokenizer(levels=3)
    features = torch.randn(200, 8)
    codes = tokenizer.quantizer.codebook.encode(features)
    rest = [
        (features - tokenizer.quantizer.codebook.centroids[range(n), codes[:, :n]].sum(1)).norm()
        for n in (1, 2, 3)
    ]
    assert rest[0] > rest[1] > rest[2]


def test_files_bytes_and_pictures_agree(tokenizer, tmp_path):
    array = pictures(1)[0]
    file = io.BytesIO()
    PilImage.fromarray(array).save(file, "PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue())
    sources = [array, file.getvalue(), tmp_path / "a.png", str(tmp_path / "a.png")]
    codes = [tokenizer.encode(chunks_of(tokenizer, [source]))[0] for source in sources]
    assert all(np.array_equal(c, codes[0]) for c in codes)
    with pytest.raises(ItemTypeError):
        list(tokenizer.preparer.prepare(Text("no picture")))


def test_preparer_travels_to_workers_without_weights(tokenizer):
    data = pickle.dumps(tokenizer.preparer)
    assert len(data) < 1000
    assert pickle.loads(data) == tokenizer.preparer


def test_wrong_specs_are_refused(tokenizer, tmp_path):
    tokenizer.save_files(tmp_path)
    spec = tokenizer.spec()
    wrong = [
        {},
        None,
        {**spec, "extra": 1},
        {**spec, "encoder": {**spec["encoder"], "name": "no_such_vit"}},
        {**spec, "encoder": {"name": "vit_tiny_patch16_224"}},
        {**spec, "geometry": {"kind": "aspect", "patch_size": 8, "max_tokens": 4}},
        {**spec, "quantizer": {**spec["quantizer"], "kind": "tree"}},
        {**spec, "quantizer": {**spec["quantizer"], "code_dim": 9}},
        {**spec, "quantizer": {**spec["quantizer"], "code_dim": "8"}},
        {**spec, "quantizer": {**spec["quantizer"], "project_in": False}},
        {**spec, "decoder": {**spec["decoder"], "dim": 31}},
        {**spec, "decoder": {**spec["decoder"], "widths": [16, 8]}},
        {**spec, "decoder": 7},
        {**spec, "limits": {"max_pixels": 0}},
        {**spec, "weights": {"repo": "no repository"}},
    ]
    for broken in wrong:
        with pytest.raises(BundleFormatError):
            ImageTokenizer.from_spec(broken, tmp_path)


def test_damaged_files_are_refused(tokenizer, tmp_path):
    tokenizer.save_files(tmp_path)
    for file in sorted(tmp_path.iterdir()):
        good = file.read_bytes()
        file.write_bytes(good[: len(good) // 2])
        with pytest.raises(BundleFormatError):
            ImageTokenizer.from_spec(tokenizer.spec(), tmp_path)
        file.write_bytes(good)
    torch.save({"a": torch.zeros(1)}, tmp_path / "encoder.safetensors")
    with pytest.raises(UnsafeFileError):
        ImageTokenizer.from_spec(tokenizer.spec(), tmp_path)


def test_weights_from_the_hub(tmp_path, monkeypatch):
    """A pinned file is fetched by name and revision, checked, and not copied into the bundle."""
    import timm

    options = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 2}
    torch.manual_seed(0)
    whole = timm.create_model("vit_tiny_patch16_224", **options)
    path = tmp_path / "model.safetensors"
    save_file(whole.state_dict(), path)
    asked = []

    def download(repo, filename, *, revision):
        asked.append((repo, filename, revision))
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    pinned = HubWeights(repo="timm/small", revision="abc123", sha256=file_sha256(path))
    config = EncoderConfig(name="vit_tiny_patch16_224", options=options, layer=0)
    tokenizer = ImageTokenizer(
        encoder=ImageEncoder(config, pretrained=pinned.fetch()),
        quantizer=CodebookQuantizer(Codebook(torch.randn(1, 16, 24))),
        geometry=SquareGeometry(size=32, patch_size=16),
        hub_weights=pinned,
    )
    folder = tmp_path / "part"
    tokenizer.save_files(folder)
    assert [p.name for p in folder.iterdir()] == ["codebook.safetensors"]
    loaded = ImageTokenizer.from_spec(json.loads(json.dumps(tokenizer.spec())), folder)
    assert asked == [("timm/small", "model.safetensors", "abc123")] * 2
    chunks = chunks_of(loaded, pictures(3))
    assert all(
        np.array_equal(a, b)
        for a, b in zip(tokenizer.encode(chunks), loaded.encode(chunks), strict=True)
    )
    other = HubWeights(repo="timm/small", sha256="0" * 64)
    with pytest.raises(BundleIntegrityError, match="sha256"):
        other.fetch()


@pytest.mark.slow
def test_vit_small_is_bit_equal_over_many_codes():
    """A real architecture with random weights: 196 codes each, alone and in batches."""
    torch.manual_seed(0)
    encoder = ImageEncoder(EncoderConfig(name="vit_small_patch16_224"))
    tokenizer = ImageTokenizer(
        encoder=encoder,
        quantizer=CodebookQuantizer(Codebook(torch.randn(1, 8192, encoder.dim))),
        geometry=SquareGeometry(size=224, patch_size=16),
    )
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (520, 14, 14, 3), dtype=np.uint8)
    total = 0
    for start in range(0, len(coarse), 40):
        arrays = [np.kron(c, np.ones((16, 16, 1), np.uint8)) for c in coarse[start : start + 40]]
        chunks = chunks_of(tokenizer, arrays)
        together = tokenizer.encode(chunks)
        for position in rng.permutation(len(chunks)):
            (alone,) = tokenizer.encode([chunks[position]])
            assert np.array_equal(alone, together[position])
        total += sum(map(len, together))
    assert total >= 100_000
