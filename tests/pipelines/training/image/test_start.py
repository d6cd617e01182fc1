"""An encoder of another shape that begins anew under a tokenizer's codes."""

import pytest
import torch

from dvse.errors import ConfigError
from dvse.image.encoder import EncoderConfig
from dvse.image.geometry import AspectGeometry
from dvse.image.rotary_vit import rotary_options
from dvse.image.tokenizer import ImageTokenizer
from pipelines.training.image.codec import CodecConfig, ImageCodec
from pipelines.training.image.settings import (
    DecoderShape,
    ImageTrainingConfig,
    QuantizerConfig,
    TokenizerSettings,
)
from pipelines.training.image.start import continue_from


def codec(widths=(8, 8, 4), num_codes=16, **stem) -> ImageCodec:
    options = rotary_options(img_size=16, patch_size=4, embed_dim=16, depth=1, num_heads=2)
    made = ImageCodec(
        CodecConfig(
            encoder=EncoderConfig(name="vit_small_patch16_rope_224", options=options, **stem),
            quantizer=QuantizerConfig(num_codes=num_codes, code_dim=4),
            decoder=DecoderShape(widths=widths),
        )
    )
    codebook = made.quantizer.codes._codebook
    codes = torch.nn.functional.normalize(torch.randn(1, num_codes, 4), dim=-1)
    codebook.embed.data.copy_(codes)
    return made


def tokenizer_of(codec: ImageCodec) -> ImageTokenizer:
    return ImageTokenizer(
        encoder=codec.encoder,
        quantizer=codec.export_quantizer(),
        decoder=codec.decoder,
        geometry=AspectGeometry(patch_size=4, max_tokens=64),
    )


def learnt(codec: ImageCodec) -> set[str]:
    """Take a step and return the parts that it moved."""
    before = {name: p.detach().clone() for name, p in codec.named_parameters()}
    pixels = torch.randint(256, (8, 16, 16, 3), dtype=torch.uint8)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=0.1)
    output = codec.train()(pixels)
    (output.loss + output.commitment).backward()
    optimizer.step()
    now = dict(codec.named_parameters())
    return {name.split(".")[0] for name, p in before.items() if not torch.equal(p, now[name])}


def test_codes_chosen_among_those_that_stay_are_the_nearest_ones_with_straight_gradients():
    torch.manual_seed(0)
    old, new = codec(stem_widths=(4, 6)), codec(stem_widths=(4, 6))
    continue_from(new, tokenizer_of(old))
    quantizer = new.quantizer.train()
    features = torch.randn(2, 6, 16, requires_grad=True)
    found = quantizer(features)
    narrow = torch.nn.functional.normalize(quantizer.project_in(features), dim=-1)
    centroids = old.export_quantizer().codebook.centroids[0]
    nearest = torch.cdist(narrow.flatten(0, 1), centroids).argmin(1).view(2, 6, 1)
    assert torch.equal(found.codes, nearest)
    chosen = centroids[nearest[..., 0]]
    torch.testing.assert_close(found.features, quantizer.project_out(chosen))
    torch.testing.assert_close(found.commitment, (narrow - chosen).square().mean())
    (gradient,) = torch.autograd.grad(found.features.sum(), features, retain_graph=True)
    (straight,) = torch.autograd.grad(quantizer.project_out(narrow).sum(), features)
    torch.testing.assert_close(gradient, straight)


def test_the_encoder_learns_on_or_the_way_back_to_pixels_or_all():
    torch.manual_seed(0)
    old = codec(stem_widths=(4, 6))
    moved = {
        "encoder": {"encoder", "quantizer"},
        "pixels": {"objective"},
        "all": {"encoder", "quantizer", "objective"},
    }
    for learns, parts in moved.items():
        new = codec(stem_widths=(4, 6))
        continue_from(new, tokenizer_of(old), learns=learns)
        codes, before = new.export_quantizer().codebook, old.export_quantizer().codebook
        assert torch.equal(codes.centroids, before.centroids)
        assert learnt(new) == parts
        new_codes = new.export_quantizer().codebook.centroids
        assert torch.equal(new_codes, before.centroids) == (learns != "all")
        if learns == "all":  # a step moves a code by the share that the average forgets
            assert (new_codes * before.centroids).sum(-1).min() > 0.9


def test_a_way_back_of_another_shape_begins_anew_where_it_learns():
    old, new = codec(stem_widths=(4, 6)), codec((12, 8, 4), stem_widths=(4, 6))
    with pytest.raises(ConfigError, match="pixel decoder of the start"):
        continue_from(new, tokenizer_of(old))
    continue_from(new, tokenizer_of(old), learns="pixels")
    assert learnt(new) == {"objective"}


def test_where_codes_move_there_may_be_more_of_them():
    torch.manual_seed(0)
    old, new = codec(stem_widths=(4, 6)), codec(num_codes=40, stem_widths=(4, 6))
    with pytest.raises(ConfigError, match="num_codes 16, received CodebookQuantizer with 40"):
        continue_from(new, tokenizer_of(old))
    continue_from(new, tokenizer_of(old), learns="all")
    before = old.export_quantizer().codebook.centroids[0]
    codes = new.export_quantizer().codebook.centroids[0]
    assert torch.equal(codes[:16], before)
    assert len(codes.unique(dim=0)) == 40
    beside = (codes[16:] * before.repeat(2, 1)[:24]).sum(-1)
    assert 0.8 < beside.min() and beside.max() < 1
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(40))
    assert learnt(new) == {"encoder", "quantizer", "objective"}
    with pytest.raises(ConfigError, match="num_codes 40, received CodebookQuantizer with 16"):
        continue_from(codec(stem_widths=(4, 6)), tokenizer_of(new), learns="all")


def test_what_learns_is_said_with_a_start():
    with pytest.raises(ConfigError, match="--start with --learns pixels"):
        TokenizerSettings(learns="pixels")
    with pytest.raises(ConfigError, match="no --new-encoder"):
        TokenizerSettings(start="tiny", new_encoder=True, learns="pixels")
    with pytest.raises(ConfigError, match="encoder, pixels, all"):
        TokenizerSettings(start="tiny", learns="none")


def test_codes_and_the_way_back_stay_and_the_encoder_is_its_own():
    torch.manual_seed(0)
    old, new = codec(stem_widths=(4, 6)), codec(stem_widths=(4, 8), stem_top=20)
    tokenizer = tokenizer_of(old)
    with pytest.raises(ConfigError, match="start's shape"):
        continue_from(new, tokenizer)
    before = {name: tensor.clone() for name, tensor in new.encoder.state_dict().items()}
    continue_from(new, tokenizer, is_encoder_new=True)
    for name, tensor in new.encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
    kept, found = old.decoder.state_dict(), new.decoder.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in kept.items())
    found = new.export_quantizer().codebook.centroids
    assert torch.equal(found, tokenizer.quantizer.codebook.centroids)
    learnt = {name.split(".")[0] for name, p in new.named_parameters() if p.requires_grad}
    assert learnt == {"encoder", "quantizer"}
    names = [name for name, p in new.quantizer.named_parameters() if p.requires_grad]
    assert names and all(name.startswith("project_in") for name in names)


def test_settings_that_do_not_fit():
    with pytest.raises(ConfigError, match="--start"):
        TokenizerSettings(new_encoder=True)
    with pytest.raises(ConfigError, match="label smoothing"):
        ImageTrainingConfig(label_smoothing=1.0)
