"""An encoder of another shape that begins anew under a tokenizer's codes."""

import pytest
import torch

from dvse.errors import ConfigError
from dvse.image.encoder import EncoderConfig
from dvse.image.geometry import AspectGeometry
from dvse.image.tokenizer import ImageTokenizer
from pipelines.training.image.codec import CodecConfig, ImageCodec
from pipelines.training.image.settings import (
    DecoderShape,
    ImageTrainingConfig,
    QuantizerConfig,
    TokenizerSettings,
)
from pipelines.training.image.start import continue_from


def codec(**stem) -> ImageCodec:
    options = {
        "img_size": 16,
        "patch_size": 4,
        "embed_dim": 16,
        "depth": 1,
        "num_heads": 2,
        "dynamic_img_size": True,
        "class_token": False,
        "use_abs_pos_emb": False,
        "global_pool": "avg",
        "num_classes": 0,
    }
    return ImageCodec(
        CodecConfig(
            encoder=EncoderConfig(name="vit_small_patch16_rope_224", options=options, **stem),
            quantizer=QuantizerConfig(num_codes=16, code_dim=4),
            decoder=DecoderShape(widths=(8, 8, 4)),
        )
    )


def test_codes_and_the_way_back_stay_and_the_encoder_is_its_own():
    torch.manual_seed(0)
    old, new = codec(stem_widths=(4, 6)), codec(stem_widths=(4, 8), stem_top=20)
    tokenizer = ImageTokenizer(
        encoder=old.encoder,
        quantizer=old.export_quantizer(),
        decoder=old.decoder,
        geometry=AspectGeometry(patch_size=4, max_tokens=64),
    )
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
