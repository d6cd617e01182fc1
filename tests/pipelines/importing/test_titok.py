"""Codes of TiTok against its mathematics in plain torch: none differ."""

import json

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from safetensors.torch import save_file
from torch.nn import functional as F

from dvse.errors import ConfigError, WeightsFormatError
from dvse.image.tokenizer import ImageTokenizer
from dvse.items import Image
from pipelines.importing.image import import_image
from pipelines.importing.image_settings import ImageSettings

WIDTH, HEADS, DEPTH, PATCH, SIZE, LATENTS, DIM, NUM_CODES = 32, 4, 2, 8, 40, 6, 5, 64


def normal(*shape, scale=0.3):
    return scale * torch.randn(*shape)


def transformer(prefix, depth, grid):
    """A half of the published model: names of `TiTokEncoder` and `TiTokDecoder`."""
    found = {
        "class_embedding": normal(1, WIDTH),
        "positional_embedding": normal(grid**2 + 1, WIDTH),
        "latent_token_positional_embedding": normal(LATENTS, WIDTH),
        "ln_pre.weight": 1 + normal(WIDTH),
        "ln_pre.bias": normal(WIDTH),
        "ln_post.weight": 1 + normal(WIDTH),
        "ln_post.bias": normal(WIDTH),
    }
    for layer in range(depth):
        for name, shape in {
            "ln_1.weight": [WIDTH],
            "ln_1.bias": [WIDTH],
            "attn.in_proj_weight": [3 * WIDTH, WIDTH],
            "attn.in_proj_bias": [3 * WIDTH],
            "attn.out_proj.weight": [WIDTH, WIDTH],
            "attn.out_proj.bias": [WIDTH],
            "ln_2.weight": [WIDTH],
            "ln_2.bias": [WIDTH],
            "mlp.c_fc.weight": [4 * WIDTH, WIDTH],
            "mlp.c_fc.bias": [4 * WIDTH],
            "mlp.c_proj.weight": [WIDTH, 4 * WIDTH],
            "mlp.c_proj.bias": [WIDTH],
        }.items():
            found[f"transformer.{layer}.{name}"] = normal(*shape)
    return {f"{prefix}.{name}": value for name, value in found.items()}


def published(*, is_legacy):
    torch.manual_seed(8)
    grid = SIZE // PATCH
    last = "decoder.ffn.2" if is_legacy else "decoder.conv_out"
    return {
        **transformer("encoder", DEPTH, grid),
        **transformer("decoder", 1, grid),
        "encoder.patch_embed.weight": normal(WIDTH, 3, PATCH, PATCH),
        "encoder.patch_embed.bias": normal(WIDTH),
        "encoder.conv_out.weight": normal(DIM, WIDTH, 1, 1),
        "encoder.conv_out.bias": normal(DIM),
        "decoder.ffn.0.weight": normal(2 * WIDTH, WIDTH, 1, 1),
        f"{last}.weight": normal(4, 4, 1, 1),
        "latent_tokens": normal(LATENTS, WIDTH),
        "quantize.embedding.weight": normal(NUM_CODES, DIM, scale=0.5),
        "pixel_quantize.embedding.weight": normal(8, 4),
    }


@torch.inference_mode()
def reference(w, pixels, *, is_legacy, is_cosine):
    """The paper's encoder: CLS, patches and latents through a pre-norm transformer."""
    patches = F.unfold(pixels[None], PATCH, stride=PATCH)[0].T  # [patches, 3 * p * p]
    patches = patches @ w["encoder.patch_embed.weight"].flatten(1).T
    patches = patches + w["encoder.patch_embed.bias"]
    x = torch.cat([w["encoder.class_embedding"], patches]) + w["encoder.positional_embedding"]
    latents = w["latent_tokens"] + w["encoder.latent_token_positional_embedding"]
    x = torch.cat([x, latents])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[f"encoder.{name}.weight"], w[f"encoder.{name}.bias"])

    def linear(x, name, between="."):
        weight = w[f"encoder.transformer.{name}{between}weight"]
        return x @ weight.T + w[f"encoder.transformer.{name}{between}bias"]

    x = norm(x, "ln_pre")
    for n in range(DEPTH):
        y = linear(norm(x, f"transformer.{n}.ln_1"), f"{n}.attn.in_proj", between="_")
        heads = []
        for q, k, v in zip(*(part.chunk(HEADS, -1) for part in y.chunk(3, -1)), strict=True):
            heads.append((q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v)
        x = x + linear(torch.cat(heads, -1), f"{n}.attn.out_proj")
        y = F.gelu(linear(norm(x, f"transformer.{n}.ln_2"), f"{n}.mlp.c_fc"))
        x = x + linear(y, f"{n}.mlp.c_proj")
    x = norm(x[-LATENTS:], "ln_post")
    if is_legacy:  # the published code reshapes [latents, width] to [width, latents]
        x = x.reshape(WIDTH, LATENTS).T
    x = x @ w["encoder.conv_out.weight"].flatten(1).T + w["encoder.conv_out.bias"]
    codes = w["quantize.embedding.weight"]
    if is_cosine:
        x, codes = F.normalize(x, dim=-1), F.normalize(codes, dim=-1)
    return torch.cdist(x.double(), codes.double()).argmin(-1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(6)
    for number, size in enumerate([(SIZE, SIZE), (95, 60), (61, 190), (41, 43)]):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = PilImage.fromarray(coarse).resize(size, PilImage.Resampling.BICUBIC)
        picture.save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def prepared(path):
    from torchvision import transforms

    resize = transforms.Resize(SIZE, interpolation=transforms.InterpolationMode.BICUBIC)
    with PilImage.open(path) as picture:
        return transforms.ToTensor()(transforms.CenterCrop(SIZE)(resize(picture)))


def write(folder, tensors, *, is_cosine):
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    config = {"model": {"vq_model": {"use_l2_norm": is_cosine, "codebook_size": NUM_CODES}}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("is_legacy", [True, False])
@pytest.mark.parametrize("is_cosine", [True, False])
def test_no_code_differs(pictures, tmp_path, is_legacy, is_cosine):
    tensors = published(is_legacy=is_legacy)
    folder = write(tmp_path / "titok", tensors, is_cosine=is_cosine)
    part = import_image(folder, tmp_path / "part", settings=ImageSettings(num_heads=HEADS))
    tokenizer = ImageTokenizer.from_spec(part.spec, part.folder)
    assert tokenizer.fixed_grid == (1, LATENTS) and tokenizer.max_positions == LATENTS
    chunks = [c for path in pictures for c in tokenizer.preparer.prepare(Image(path))]
    together = tokenizer.encode(chunks)
    for path, codes, chunk in zip(pictures, together, chunks, strict=True):
        wanted = reference(tensors, prepared(path), is_legacy=is_legacy, is_cosine=is_cosine)
        assert codes[:, 0].tolist() == wanted.tolist()
        assert chunk.grid == (1, LATENTS)
        assert (tokenizer.quantize(tokenizer.embed([chunk]))[0] == codes).all()


def test_a_file_alone_leaves_the_metric_open(tmp_path):
    tensors = published(is_legacy=True)
    torch.save(tensors, tmp_path / "tokenizer_titok.bin")
    with pytest.raises(ConfigError, match=r"--metric euclidean\|cosine"):
        import_image(
            tmp_path / "tokenizer_titok.bin",
            tmp_path / "part",
            settings=ImageSettings(num_heads=HEADS),
        )
    part = import_image(
        tmp_path / "tokenizer_titok.bin",
        tmp_path / "part",
        settings=ImageSettings(num_heads=HEADS, metric="cosine"),
    )
    assert part.spec["encoder"]["is_legacy"] is True
    assert part.spec["geometry"]["resize"] == part.spec["geometry"]["size"] == SIZE
    assert part.provenance["family"] == "titok"


def test_what_does_not_fit_is_refused(tmp_path):
    tensors = published(is_legacy=True)
    settings = ImageSettings(num_heads=HEADS, metric="cosine")

    def importing(changed, settings=settings):
        torch.save(changed, tmp_path / "bad.bin")
        import_image(tmp_path / "bad.bin", tmp_path / "part", settings=settings)

    def without(name):
        return {n: t for n, t in tensors.items() if not n.startswith(name)}

    with pytest.raises(WeightsFormatError, match="kind vae"):
        importing(without("quantize"))
    with pytest.raises(WeightsFormatError, match="decoder is missing"):
        importing(without("decoder"))
    with pytest.raises(WeightsFormatError, match=r"'encoder\.class_embedding' is missing"):
        importing(without("encoder.class_embedding"))
    with pytest.raises(WeightsFormatError, match=r"tensors are missing, such as 'norm_before"):
        importing(without("encoder.ln_pre"))
    with pytest.raises(WeightsFormatError, match=r"no place in one: encoder\.head"):
        importing({**tensors, "encoder.head": torch.zeros(2)})
    with pytest.raises(WeightsFormatError, match="do not fit"):
        importing({**tensors, "quantize.embedding.weight": torch.zeros(8, 3)})
    with pytest.raises(WeightsFormatError, match="positions are those of 40 pixels"):
        importing(tensors, ImageSettings(num_heads=HEADS, metric="cosine", size=48))
    with pytest.raises(ConfigError, match="heads that divide the width"):
        importing(tensors, ImageSettings(num_heads=7, metric="cosine"))
    assert [p.name for p in tmp_path.iterdir()] == ["bad.bin"]


GOLDEN = """
887 3979 349 720 2809 2743 2101 603 2205 1508 1891 4015 1317 2956 3774 2296 484 2612 3472 2330 3140
3113 1056 3779 654 2360 1901 2908 2169 953 1326 2598
"""
"""What the authors print for their picture (1d-tokenizer, README_TiTok.md, Apache-2.0)."""


@pytest.mark.network
@pytest.mark.timeout(1800)
def test_the_published_codes_of_the_authors_picture(tmp_path):
    import urllib.request

    from pipelines.registry.registry import Registry

    picture = tmp_path / "picture.png"
    urllib.request.urlretrieve(
        "https://github.com/bytedance/1d-tokenizer/raw/main/assets/ILSVRC2012_val_00010240.png",
        picture,
    )
    files = Registry.load()["titok-l-32"].fetch()
    part = import_image(files["weights"].parent, tmp_path / "part")
    tokenizer = ImageTokenizer.from_spec(part.spec, part.folder)
    (codes,) = tokenizer.encode(list(tokenizer.preparer.prepare(Image(picture))))
    assert codes[:, 0].tolist() == [int(code) for code in GOLDEN.split()]
