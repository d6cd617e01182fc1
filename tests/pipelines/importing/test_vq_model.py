"""Codes and pictures of the VQ models that transformers ships against its own classes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from safetensors.torch import save_file
from transformers import (
    ChameleonVQVAE,
    ChameleonVQVAEConfig,
    Emu3VQVAE,
    Emu3VQVAEConfig,
    JanusVQVAE,
    JanusVQVAEConfig,
)

from dvse.errors import BundleNotFoundError, ConfigError, TooLargeError, WeightsFormatError
from dvse.image.tokenizer import ImageTokenizer
from dvse.items import Image
from pipelines.importing.image import import_image
from pipelines.importing.image_settings import ImageSettings

SHAPE = {
    "base_channels": 32,
    "channel_multiplier": [1, 1, 2],
    "num_res_blocks": 1,
    "latent_channels": 8,
    "embed_dim": 5,
}
KINDS = {
    "chameleon": (ChameleonVQVAE, ChameleonVQVAEConfig, {"num_embeddings": 64, "resolution": 32}),
    "emu3": (
        Emu3VQVAE,
        Emu3VQVAEConfig,
        {"codebook_size": 64, "hidden_size": 64, "attn_resolutions": [2], "latent_channels": 5},
    ),
    "janus": (JanusVQVAE, JanusVQVAEConfig, {"num_embeddings": 64, "num_patches": 8}),
}
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
SQUARE = ImageSettings(resize=36, size=32, resample="lanczos", mean=MEAN, std=STD)


def random_model(architecture):
    kind, config_class, more = KINDS[architecture]
    torch.manual_seed(3)
    model = kind(config_class(**{**SHAPE, **more})).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "embedding" not in name:  # norms that do something
                value.add_(0.05 * torch.randn_like(value))
        # Codes where features are, as a trained codebook has them: many compete for each.
        pixels = 4 * torch.rand(1, 3, 32, 32) - 2
        if architecture == "emu3":
            hidden = model.encoder(pixels[:, None].repeat(1, 4, 1, 1, 1)).permute(0, 2, 1, 3, 4)
            found = model.quant_conv(hidden)[:, :, 0]
        else:
            found = model.quant_conv(model.encoder(pixels))
        model.quantize.embedding.weight.copy_(found[0].flatten(1).T)
    return model


@pytest.fixture(scope="module")
def models():
    return {architecture: random_model(architecture) for architecture in KINDS}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(6)
    for number, size in enumerate([(32, 32), (95, 60), (61, 190), (41, 43)]):
        coarse = rng.integers(0, 256, (23, 19, 3), dtype=np.uint8)
        picture = PilImage.fromarray(coarse).resize(size, PilImage.Resampling.BICUBIC)
        picture.save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def scaled(pixels):
    """`uint8 [H, W, 3]` as the feature extractor hands it to the model, `[1, 3, H, W]`."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255 - mean) / std)[None]


def square(path):
    with PilImage.open(path) as picture:
        short = min(picture.size)
        width, height = (int(36 * side / short) for side in picture.size)
        resized = picture.resize((width, height), PilImage.Resampling.LANCZOS)
        left, upper = round((width - 32) / 2), round((height - 32) / 2)
        return np.asarray(resized.crop((left, upper, left + 32, upper + 32)))


def saved(models, architecture, folder, **preprocessor):
    models[architecture].save_pretrained(folder)
    if preprocessor:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def encoded(part, paths):
    tokenizer = ImageTokenizer.from_spec(part.spec, part.folder)
    chunks = [chunk for path in paths for chunk in tokenizer.preparer.prepare(Image(path))]
    return tokenizer, chunks, tokenizer.encode(chunks)


@pytest.mark.parametrize("architecture", ["chameleon", "janus"])
def test_no_code_differs(models, pictures, tmp_path, architecture):
    folder = saved(models, architecture, tmp_path / "model")
    part = import_image(folder, tmp_path / "part", settings=SQUARE)
    tokenizer, _, found = encoded(part, pictures)
    for path, codes in zip(pictures, found, strict=True):
        with torch.inference_mode():
            wanted = models[architecture].encode(scaled(square(path))).image_tokens
        assert codes[:, 0].tolist() == wanted.flatten().tolist()
        assert tokenizer.fixed_grid == (8, 8)
    assert len(np.unique(np.concatenate(found))) > 10


def test_emu3_keeps_the_aspect(models, pictures, tmp_path):
    folder = saved(
        models,
        "emu3",
        tmp_path / "model",
        image_mean=MEAN,
        image_std=STD,
        resample=3,
        min_pixels=32 * 32,
        max_pixels=64 * 64,
        spatial_factor=4,
    )
    part = import_image(folder, tmp_path / "part")
    _, chunks, found = encoded(part, pictures)
    grids = {chunk.grid for chunk in chunks}
    assert (8, 8) in grids and len(grids) == 4
    for chunk, codes in zip(chunks, found, strict=True):
        height, width = chunk.data.shape[:2]
        with torch.inference_mode():
            (wanted,) = (
                models["emu3"]
                .encode(scaled(chunk.data), image_sizes=torch.tensor([[height, width]]))
                .image_tokens
            )
        assert wanted.shape == chunk.grid
        assert codes[:, 0].tolist() == wanted.flatten().tolist()


def test_emu3s_sizes_are_those_of_its_processor(tmp_path):
    from transformers.models.emu3.image_processing_emu3 import smart_resize

    from dvse.image.published_geometry import AreaGeometry

    geometry = AreaGeometry(patch_size=8, min_pixels=512 * 512, max_pixels=1024 * 1024)
    for width, height in [
        (500, 375),
        (640, 480),
        (1024, 1024),
        (100, 90),
        (3000, 3000),
        (812, 900),
    ]:
        expected = smart_resize(height, width, 8, 512 * 512, 1024 * 1024)
        assert geometry.place(width, height).size == expected[::-1]
    with pytest.raises(TooLargeError, match="at most 128 a side"):
        geometry.place(4000, 1000)


@pytest.mark.parametrize("architecture", ["emu3", "janus"])
def test_the_way_back_is_the_models_own(models, pictures, tmp_path, architecture):
    folder = saved(models, architecture, tmp_path / "model")
    settings = SQUARE
    if architecture == "emu3":
        settings = ImageSettings(
            resample="bicubic", mean=MEAN, std=STD, min_pixels=1024, max_pixels=1024
        )
    part = import_image(folder, tmp_path / "part", settings=settings)
    tokenizer, chunks, found = encoded(part, pictures[:1])
    pixels = tokenizer.decode(found[0], chunks[0].grid)
    with torch.inference_mode():
        codes = torch.from_numpy(found[0][:, 0].astype(np.int64))[None]
        codes = codes.view(1, 8, 8) if architecture == "emu3" else codes
        wanted = models[architecture].decode(codes)[0]
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    wanted = ((wanted * std + mean) * 255).round().clamp(0, 255).permute(1, 2, 0)
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels.astype(int) - wanted.numpy()).max() <= 1
    assert np.ptp(pixels) > 3


def test_a_whole_model_in_several_files(models, pictures, tmp_path):
    """The VQ model inside a language model: found by its prefix, other files not read."""
    folder = tmp_path / "model"
    folder.mkdir()
    tensors = {f"model.vqmodel.{n}": t for n, t in models["janus"].state_dict().items()}
    names = sorted(tensors)
    files = {
        "model-00001-of-00003.safetensors": names[::2],
        "model-00002-of-00003.safetensors": names[1::2],
    }
    for file, mine in files.items():
        save_file({n: tensors[n].contiguous() for n in mine}, folder / file)
    places = {n: file for file, mine in files.items() for n in mine}
    places["lm_head.weight"] = "model-00003-of-00003.safetensors"  # not there, not wanted
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    config = {"model_type": "janus", "vq_config": models["janus"].config.to_dict()}
    (folder / "config.json").write_text(json.dumps(config))
    part = import_image(folder, tmp_path / "part", settings=SQUARE)
    assert set(part.provenance["weights"]["sha256"]) == set(files)
    _, _, found = encoded(part, pictures[:1])
    with torch.inference_mode():
        wanted = models["janus"].encode(scaled(square(pictures[0]))).image_tokens
    assert found[0][:, 0].tolist() == wanted.flatten().tolist()
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(BundleNotFoundError, match=r"model-00002-of-00003.*names it"):
        import_image(folder, tmp_path / "again", settings=SQUARE)


def test_what_files_leave_open_is_asked_for(models, tmp_path):
    janus = saved(models, "janus", tmp_path / "janus", image_mean=MEAN, image_std=STD, size=384)
    with pytest.raises(ConfigError, match=r"say --mean .* and --std .* and --resample"):
        import_image(janus, tmp_path / "part")
    with pytest.raises(ConfigError, match=r"say --resize N .* and --size N"):
        import_image(
            janus,
            tmp_path / "part",
            settings=ImageSettings(mean=MEAN, std=STD, resample="bicubic"),
        )
    with pytest.raises(ConfigError, match="leave out --min-pixels"):
        import_image(
            janus,
            tmp_path / "part",
            settings=ImageSettings(mean=MEAN, std=STD, resample="bicubic", min_pixels=3),
        )
    with pytest.raises(ConfigError, match="that 4 divides"):
        import_image(
            janus,
            tmp_path / "part",
            settings=ImageSettings(mean=MEAN, std=STD, resample="bicubic", resize=36, size=33),
        )
    state = models["janus"].state_dict()
    changed = {**state, "quantize.embedding.weight": torch.zeros(64, 3)}
    save_file({n: t.contiguous() for n, t in changed.items()}, janus / "model.safetensors")
    with pytest.raises(WeightsFormatError, match="codes of 5 channels"):
        import_image(janus, tmp_path / "part", settings=SQUARE)
    (janus / "model.safetensors").write_bytes((janus / "model.safetensors").read_bytes()[:3000])
    with pytest.raises(WeightsFormatError, match="safetensors"):
        import_image(janus, tmp_path / "part", settings=SQUARE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["janus"]


def test_chameleons_scale_is_read_from_its_processor(models, tmp_path):
    folder = saved(
        models,
        "chameleon",
        tmp_path / "model",
        image_mean=[1.0, 1.0, 1.0],
        image_std=[1.0, 1.0, 1.0],
        rescale_factor=0.0078,
        resample=1,
        size={"shortest_edge": 32},
        crop_size={"height": 32, "width": 32},
    )
    part = import_image(folder, tmp_path / "part")
    tokenizer, _, _ = encoded(part, [])
    pixels = torch.arange(256, dtype=torch.uint8)[None, :, None, None].expand(1, 256, 1, 3)
    wanted = pixels[0, :, 0, 0] * 0.0078 - 1
    assert torch.allclose(tokenizer.encoder.normalize(pixels)[0, 0, :, 0], wanted, atol=1e-6)
    assert part.spec["decoder"] is None
    assert part.spec["geometry"]["resample"] == "lanczos"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": (float("nan"), 0, 0)}, "three means"),
        ({"mean": (1e30, 0, 0)}, "none beyond 1000"),
        ({"std": (float("inf"), 1, 1)}, "three positive standard deviations"),
        ({"std": (0, 1, 1)}, "three positive standard deviations"),
        ({"resize": 99_999_999}, "a resize of at most 16384 pixels"),
    ],
)
def test_scales_and_sizes_that_no_picture_has(models, tmp_path, change, message):
    models["janus"].save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match=message):
        import_image(tmp_path / "model", tmp_path / "part", settings=replace(SQUARE, **change))
    assert not (tmp_path / "part").exists()
