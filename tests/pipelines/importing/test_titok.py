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
    return {
        **(maskgit() if is_legacy else to_pixels()),
        **transformer("encoder", DEPTH, grid),
        **transformer("decoder", 1, grid),
        "encoder.patch_embed.weight": normal(WIDTH, 3, PATCH, PATCH),
        "encoder.patch_embed.bias": normal(WIDTH),
        "encoder.conv_out.weight": normal(DIM, WIDTH, 1, 1),
        "encoder.conv_out.bias": normal(DIM),
        "decoder.decoder_embed.weight": normal(WIDTH, DIM),
        "decoder.decoder_embed.bias": normal(WIDTH),
        "decoder.mask_token": normal(1, 1, WIDTH),
        "latent_tokens": normal(LATENTS, WIDTH),
        "quantize.embedding.weight": normal(NUM_CODES, DIM, scale=0.5),
    }


def to_pixels():
    return {
        "decoder.ffn.0.weight": normal(3 * PATCH**2, WIDTH, 1, 1),
        "decoder.ffn.0.bias": normal(3 * PATCH**2),
        "decoder.conv_out.weight": normal(3, 3, 3, 3),
        "decoder.conv_out.bias": normal(3),
    }


PROXY, PROXY_DIM, WIDTHS = 24, 6, (32, 32, 64, 64)


def maskgit():
    """MaskGIT-VQGAN's decoder under the names of the published checkpoint."""
    found = {
        "decoder.ffn.0.weight": normal(2 * WIDTH, WIDTH, 1, 1),
        "decoder.ffn.0.bias": normal(2 * WIDTH),
        "decoder.ffn.2.weight": normal(PROXY, 2 * WIDTH, 1, 1),
        "decoder.ffn.2.bias": normal(PROXY),
        "pixel_quantize.embedding.weight": normal(PROXY, PROXY_DIM),
        "pixel_decoder.conv_in.weight": normal(WIDTHS[-1], PROXY_DIM, 3, 3),
        "pixel_decoder.conv_in.bias": normal(WIDTHS[-1]),
        "pixel_decoder.norm_out.weight": 1 + normal(WIDTHS[0]),
        "pixel_decoder.norm_out.bias": normal(WIDTHS[0]),
        "pixel_decoder.conv_out.weight": normal(3, WIDTHS[0], 3, 3),
        "pixel_decoder.conv_out.bias": normal(3),
    }

    def block(place, width, own):
        found[f"{place}.norm1.weight"], found[f"{place}.norm1.bias"] = normal(width), normal(width)
        found[f"{place}.conv1.weight"] = normal(own, width, 3, 3, scale=0.1)
        found[f"{place}.norm2.weight"], found[f"{place}.norm2.bias"] = normal(own), normal(own)
        found[f"{place}.conv2.weight"] = normal(own, own, 3, 3, scale=0.1)
        if width != own:
            found[f"{place}.nin_shortcut.weight"] = normal(own, own, 1, 1)

    for number in range(2):
        block(f"pixel_decoder.mid.{number}", WIDTHS[-1], WIDTHS[-1])
    width = WIDTHS[-1]
    for level in reversed(range(len(WIDTHS))):
        place = f"pixel_decoder.up.{level}"
        for number in range(2):
            block(f"{place}.block.{number}", width, WIDTHS[level])
            width = WIDTHS[level]
        if level:
            found[f"{place}.upsample_conv.weight"] = normal(width, width, 3, 3, scale=0.1)
            found[f"{place}.upsample_conv.bias"] = normal(width)
    return found


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


@torch.inference_mode()
def painted(w, codes, *, is_legacy):
    """The paper's way back, in plain torch: `[3, SIZE, SIZE]` in 0..1."""
    grid = SIZE // PATCH
    latents = F.normalize(w["quantize.embedding.weight"][codes], dim=-1)
    latents = latents @ w["decoder.decoder_embed.weight"].T + w["decoder.decoder_embed.bias"]
    masks = w["decoder.mask_token"][0].expand(grid**2, -1)
    x = torch.cat([w["decoder.class_embedding"], masks]) + w["decoder.positional_embedding"]
    x = torch.cat([x, latents + w["decoder.latent_token_positional_embedding"]])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[f"decoder.{name}.weight"], w[f"decoder.{name}.bias"])

    def linear(x, name, between="."):
        weight = w[f"decoder.transformer.0.{name}{between}weight"]
        return x @ weight.T + w[f"decoder.transformer.0.{name}{between}bias"]

    x = norm(x, "ln_pre")
    y = linear(norm(x, "transformer.0.ln_1"), "attn.in_proj", between="_")
    heads = []
    for q, k, v in zip(*(part.chunk(HEADS, -1) for part in y.chunk(3, -1)), strict=True):
        heads.append((q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v)
    x = x + linear(torch.cat(heads, -1), "attn.out_proj")
    x = x + linear(F.gelu(linear(norm(x, "transformer.0.ln_2"), "mlp.c_fc")), "mlp.c_proj")
    x = norm(x[1 : 1 + grid**2], "ln_post").T.reshape(1, WIDTH, grid, grid)
    x = F.conv2d(x, w["decoder.ffn.0.weight"], w["decoder.ffn.0.bias"])
    if not is_legacy:
        x = x.unflatten(1, (PATCH, PATCH, 3))  # [1, p1, p2, 3, h, w]
        pixels = torch.zeros(1, 3, SIZE, SIZE)
        for row in range(PATCH):
            for column in range(PATCH):
                pixels[:, :, row::PATCH, column::PATCH] = x[:, row, column]
        weight, bias = w["decoder.conv_out.weight"], w["decoder.conv_out.bias"]
        return F.conv2d(pixels, weight, bias, padding=1)[0]
    x = F.conv2d(x.tanh(), w["decoder.ffn.2.weight"], w["decoder.ffn.2.bias"])
    x = torch.einsum("nchw,cd->ndhw", x.softmax(1), w["pixel_quantize.embedding.weight"])
    return vqgan(w, x)[0]


def vqgan(w, x):
    def conv(x, name, padding=1):
        name = f"pixel_decoder.{name}"
        return F.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), padding=padding)

    def norm(x, name):
        name = f"pixel_decoder.{name}"
        return F.silu(F.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6))

    def block(x, place):
        y = conv(norm(conv(norm(x, f"{place}.norm1"), f"{place}.conv1"), f"{place}.norm2"),
                 f"{place}.conv2")  # fmt: skip
        if f"pixel_decoder.{place}.nin_shortcut.weight" in w:
            x = conv(y, f"{place}.nin_shortcut", padding=0)  # of the output, as published
        return y + x

    x = conv(x, "conv_in")
    for number in range(2):
        x = block(x, f"mid.{number}")
    for level in reversed(range(len(WIDTHS))):
        for number in range(2):
            x = block(x, f"up.{level}.block.{number}")
        if level:
            x = conv(F.interpolate(x, scale_factor=2.0), f"up.{level}.upsample_conv")
    return conv(norm(x, "norm_out"), "conv_out")


@pytest.mark.parametrize("is_legacy", [True, False])
def test_the_way_back(tmp_path, is_legacy):
    tensors = published(is_legacy=is_legacy)
    folder = write(tmp_path / "titok", tensors, is_cosine=True)
    part = import_image(folder, tmp_path / "part", settings=ImageSettings(num_heads=HEADS))
    tokenizer = ImageTokenizer.from_spec(part.spec, part.folder)
    codes = torch.randint(0, NUM_CODES, (LATENTS,), generator=torch.Generator().manual_seed(1))
    pixels = tokenizer.decode(codes.numpy())
    wanted = painted(tensors, codes, is_legacy=is_legacy).mul(255).round().clamp(0, 255)
    assert pixels.shape == (SIZE, SIZE, 3)
    gap = np.abs(pixels.astype(int) - wanted.permute(1, 2, 0).numpy().astype(int))
    assert gap.max() <= 1 and np.ptp(pixels) > 50


def test_a_first_model_without_its_vqgan_only_encodes(tmp_path):
    tensors = {n: t for n, t in published(is_legacy=True).items() if not n.startswith("pixel_")}
    folder = write(tmp_path / "titok", tensors, is_cosine=True)
    part = import_image(folder, tmp_path / "part", settings=ImageSettings(num_heads=HEADS))
    assert part.spec["decoder"] is None


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
    with pytest.raises(WeightsFormatError, match=r"'decoder\.mask_token' is missing"):
        importing(without("decoder.mask_token"))
    with pytest.raises(WeightsFormatError, match=r"no place in one: decoder\.extra"):
        importing({**tensors, "decoder.extra": torch.zeros(2)})
    with pytest.raises(WeightsFormatError, match="decoder is missing"):
        importing(without("decoder"))
    with pytest.raises(WeightsFormatError, match=r"'encoder\.class_embedding' is missing"):
        importing(without("encoder.class_embedding"))
    with pytest.raises(WeightsFormatError, match=r"tensors are missing, such as 'norm_before"):
        importing(without("encoder.ln_pre"))
    with pytest.raises(WeightsFormatError, match=r"no place in one: encoder\.head"):
        importing({**tensors, "encoder.head": torch.zeros(2)})
    with pytest.raises(WeightsFormatError, match="expected codes of"):
        importing({**tensors, "quantize.embedding.weight": torch.zeros(8, 3)})
    with pytest.raises(WeightsFormatError, match="positions are those of 40 pixels"):
        importing(tensors, ImageSettings(num_heads=HEADS, metric="cosine", size=48))
    with pytest.raises(ConfigError, match="heads that divide the width"):
        importing(tensors, ImageSettings(num_heads=7, metric="cosine"))
    assert [p.name for p in tmp_path.iterdir()] == ["bad.bin"]
