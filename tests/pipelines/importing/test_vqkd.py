"""Codes of BEiT v2's tokenizer against its mathematics in plain torch: none differ."""

import argparse

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from torch.nn import functional as F

from dvse.errors import BundleNotFoundError, ConfigError, UnsafeFileError, WeightsFormatError
from dvse.image.tokenizer import ImageTokenizer
from dvse.items import Image
from dvse.storage.part import Part
from pipelines.cli import main
from pipelines.importing.image import import_image
from pipelines.importing.image_settings import ImageSettings

WIDTH, HEADS, DEPTH, PATCH, SIZE, RESIZE = 48, 3, 2, 8, 32, 37
NUM_CODES, CODE_DIM = 96, 6
SMALL = ImageSettings(resize=RESIZE, size=SIZE, num_heads=HEADS)


def normal(*shape, scale=0.3):
    return scale * torch.randn(*shape)


def vit(prefix, width, patch, channels, positions, depth):
    """The tensors of one ViT under the names of the published checkpoint."""
    found = {
        "cls_token": normal(1, 1, width),
        "pos_embed": normal(1, positions + 1, width),
        "patch_embed.proj.weight": normal(width, channels, patch, patch),
        "patch_embed.proj.bias": normal(width),
        "fc_norm.weight": 1 + normal(width),
        "fc_norm.bias": normal(width),
    }
    for layer in range(depth):
        for name, shape in {
            "norm1.weight": [width],
            "norm1.bias": [width],
            "attn.q_bias": [width],
            "attn.v_bias": [width],
            "attn.qkv.weight": [3 * width, width],
            "attn.proj.weight": [width, width],
            "attn.proj.bias": [width],
            "norm2.weight": [width],
            "norm2.bias": [width],
            "mlp.fc1.weight": [4 * width, width],
            "mlp.fc1.bias": [4 * width],
            "mlp.fc2.weight": [width, 4 * width],
            "mlp.fc2.bias": [width],
        }.items():
            found[f"blocks.{layer}.{name}"] = normal(*shape)
    return {f"{prefix}.{name}": value for name, value in found.items()}


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(5)
    grid = (SIZE // PATCH) ** 2
    tensors = {
        **vit("encoder", WIDTH, PATCH, 3, grid, DEPTH),
        **vit("decoder", WIDTH, 1, CODE_DIM, grid, 1),
        "encode_task_layer.0.weight": normal(WIDTH, WIDTH),
        "encode_task_layer.0.bias": normal(WIDTH),
        "encode_task_layer.2.weight": normal(CODE_DIM, WIDTH),
        "encode_task_layer.2.bias": normal(CODE_DIM),
        "decode_task_layer.0.weight": normal(WIDTH, WIDTH),
        "decode_task_layer.0.bias": normal(WIDTH),
        "decode_task_layer.2.weight": normal(10, WIDTH),
        "decode_task_layer.2.bias": normal(10),
        "quantize.embedding.weight": F.normalize(normal(NUM_CODES, CODE_DIM), dim=-1),
        "quantize.embedding.initted": torch.tensor([1.0]),
        "quantize.embedding.cluster_size": torch.zeros(NUM_CODES),
        "quantize.embedding.embed_avg": torch.zeros(NUM_CODES, CODE_DIM),
        "quantize.cluster_size": torch.zeros(NUM_CODES),
        "teacher_model.something": normal(3),
        "scaling_layer.shift": normal(1, 3, 1, 1),
    }
    # Codes where features are, as a trained codebook has them: many compete for each.
    pixels = 2 * torch.rand(NUM_CODES // grid, 3, SIZE, SIZE) - 1
    found = torch.cat([features_of(tensors, picture) for picture in pixels])
    return {**tensors, "quantize.embedding.weight": F.normalize(found, dim=-1)}


@pytest.fixture(scope="module")
def checkpoint(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("vqkd") / "vqkd.pth"
    torch.save({"model": weights, "epoch": 99, "args": argparse.Namespace(lr=1.0)}, path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(4)
    for number, size in enumerate([(90, 61), (61, 90), (37, 37), (300, 41), (40, 1999), (33, 35)]):
        coarse = rng.integers(0, 256, (23, 19, 3), dtype=np.uint8)
        picture = PilImage.fromarray(coarse).resize(size, PilImage.Resampling.BICUBIC)
        picture.save(folder / f"{number}.{'jpg' if number % 2 else 'png'}", quality=90)
    return sorted(folder.iterdir())


def prepared(path, resize, size):
    """torchvision's own Resize and CenterCrop, as the authors' script uses them."""
    from torchvision import transforms

    transform = transforms.Compose(
        [
            transforms.Resize(resize, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
        ]
    )
    with PilImage.open(path) as picture:
        return transform(picture) * 255 / 127.5 - 1


@torch.no_grad()
def features_of(w, pixels, *, heads=HEADS, depth=DEPTH, patch=PATCH):
    """The paper's way in: ViT, LayerNorm on patches, MLP with tanh."""
    x = F.conv2d(pixels[None], w["encoder.patch_embed.proj.weight"], stride=patch)
    x = x + w["encoder.patch_embed.proj.bias"][:, None, None]
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([w["encoder.cls_token"], x], dim=1) + w["encoder.pos_embed"]

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)

    for layer in range(depth):
        block = f"encoder.blocks.{layer}"
        q_bias, v_bias = w[f"{block}.attn.q_bias"], w[f"{block}.attn.v_bias"]
        y = norm(x, f"{block}.norm1") @ w[f"{block}.attn.qkv.weight"].T
        y = y + torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
        q, k, v = y.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        y = (attention @ v).transpose(1, 2).flatten(2)
        x = x + y @ w[f"{block}.attn.proj.weight"].T + w[f"{block}.attn.proj.bias"]
        y = norm(x, f"{block}.norm2") @ w[f"{block}.mlp.fc1.weight"].T
        y = F.gelu(y + w[f"{block}.mlp.fc1.bias"])
        x = x + y @ w[f"{block}.mlp.fc2.weight"].T + w[f"{block}.mlp.fc2.bias"]
    x = norm(x[0, 1:], "encoder.fc_norm")
    x = (x @ w["encode_task_layer.0.weight"].T + w["encode_task_layer.0.bias"]).tanh()
    return x @ w["encode_task_layer.2.weight"].T + w["encode_task_layer.2.bias"]


def reference(w, pixels):
    """The nearest code by angle."""
    features = F.normalize(features_of(w, pixels), dim=-1)
    return (features @ w["quantize.embedding.weight"].T).argmax(-1)


def codes_of(part, paths):
    tokenizer = ImageTokenizer.from_spec(part.spec, part.folder)
    chunks = [chunk for path in paths for chunk in tokenizer.preparer.prepare(Image(path))]
    return [codes[:, 0].tolist() for codes in tokenizer.encode(chunks)]


def test_no_code_differs(weights, checkpoint, pictures, tmp_path):
    part = import_image(checkpoint, tmp_path / "part", settings=SMALL)
    found = codes_of(part, pictures)
    for path, codes in zip(pictures, found, strict=True):
        assert codes == reference(weights, prepared(path, RESIZE, SIZE)).tolist()
    assert len({code for codes in found for code in codes}) > 20  # not the same one everywhere


def test_the_command_and_what_it_records(checkpoint, tmp_path, capsys):
    words = ["import", "image", str(checkpoint), "--output", str(tmp_path / "part")]
    words += ["--resize", str(RESIZE), "--size", str(SIZE), "--num-heads", str(HEADS)]
    assert main([*words, "--licence", "MIT"]) == 0
    assert "codes of vqkd, without a way back" in capsys.readouterr().out
    part = Part.load(tmp_path / "part", modality="image")
    assert part.spec["geometry"] == {
        "kind": "crop",
        "resize": RESIZE,
        "size": SIZE,
        "patch_size": PATCH,
        "resample": "bicubic",
        "num_latents": 0,
    }
    assert part.spec["quantizer"]["hidden_dim"] == WIDTH
    assert part.spec["encoder"]["mean"] == [0.5] * 3
    assert part.provenance["weights"]["file"] == "vqkd.pth"
    assert part.provenance["licence"] == "MIT"


def broken(weights, **changes):
    return {n: changes.get(n, t) for n, t in weights.items() if changes.get(n, t) is not None}


def test_what_does_not_fit_is_refused_and_leaves_nothing(weights, checkpoint, tmp_path):
    def importing(tensors, settings=SMALL):
        torch.save({"model": tensors}, tmp_path / "bad.pth")
        import_image(tmp_path / "bad.pth", tmp_path / "part", settings=settings)

    with pytest.raises(
        WeightsFormatError, match=r"1 tensors are missing, such as 'blocks\.0\.norm1"
    ):
        importing({n: t for n, t in weights.items() if n != "encoder.blocks.0.norm1.weight"})
    with pytest.raises(WeightsFormatError, match=r"no place in one: head\.weight"):
        importing({**weights, "head.weight": torch.zeros(3)})
    with pytest.raises(WeightsFormatError, match="NaN"):
        importing({**weights, "encoder.fc_norm.weight": torch.full((WIDTH,), torch.nan)})
    with pytest.raises(WeightsFormatError, match="another shape"):
        importing({**weights, "encoder.fc_norm.weight": torch.zeros(3)})
    with pytest.raises(WeightsFormatError, match="finite"):
        importing(
            {**weights, "quantize.embedding.weight": torch.full((NUM_CODES, CODE_DIM), torch.inf)}
        )
    with pytest.raises(WeightsFormatError, match=f"codes of {CODE_DIM} channels"):
        importing({**weights, "quantize.embedding.weight": torch.zeros(NUM_CODES, 3)})
    with pytest.raises(WeightsFormatError, match="say --size 32"):
        importing(weights, ImageSettings(num_heads=HEADS))
    with pytest.raises(ConfigError, match="--num-heads N"):
        importing(weights, ImageSettings(resize=RESIZE, size=SIZE))
    with pytest.raises(ConfigError, match="leave out --min-pixels"):
        importing(weights, ImageSettings(min_pixels=3))
    with pytest.raises(WeightsFormatError, match="expected BEiT v2's VQ-KD, TiTok"):
        importing({"weight": torch.zeros(3)})
    (tmp_path / "bad.pth").write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(WeightsFormatError, match="whole"):
        import_image(tmp_path / "bad.pth", tmp_path / "part")
    with pytest.raises(BundleNotFoundError, match="there is none"):
        import_image(tmp_path / "nowhere.pth", tmp_path / "part")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match="new or empty"):
        import_image(checkpoint, tmp_path / "full", settings=SMALL)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.pth", "full"]


class Runs:
    def __reduce__(self):
        return print, ("run",)


def test_a_checkpoint_that_calls_something_is_refused(weights, tmp_path, capsys):
    torch.save({"model": weights, "extra": Runs()}, tmp_path / "bad.pth")
    with pytest.raises(UnsafeFileError, match="was not run"):
        import_image(tmp_path / "bad.pth", tmp_path / "part", settings=SMALL)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "part").exists()
