"""Training that goes on from a tokenizer whose codes keep their meaning.

The codebook, the way from codes back to features and the pixel decoder are taken as they are and
frozen; the encoder learns to choose better among the codes. An id means what it meant: a decoder
trained on such ids still reads them, and `dvse build-bundle --base … --allow-new-encoder` takes
the part. The encoder may be deeper than it was: added blocks begin as the identity, for their last
projections are zero (Zhang et al. 2019, *Fixup Initialization*), or have a context beside its stem
(`dvse/image/picture_context.py`), whose join is zero at first. Or it may be another one
altogether, which begins at random and learns what the codes mean from the frozen way back to
pixels. Where an encoder has learnt on, the way back from codes to pixels may follow by itself: no
file gets other ids by that. Where ids need not stay, everything learns on together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dvse.errors import ConfigError
from dvse.image.encoder import ImageEncoder
from dvse.image.tokenizer import ImageTokenizer
from dvse.storage.bundle import Bundle
from dvse.storage.finding import find_bundle
from dvse.storage.part import Part
from pipelines.training.image.codec import ImageCodec
from pipelines.training.image.settings import Learns


@dataclass(frozen=True, kw_only=True)
class Start:
    """What is begun from: a tokenizer, and where it is from."""

    tokenizer: ImageTokenizer
    provenance: Mapping[str, Any]


def load_start(source: str | Path) -> Start:
    """Read a folder that `dvse train image` wrote, or the pictures' part of a bundle.

    Raises:
        BundleNotFoundError, BundleFormatError: neither of the two.
        ConfigError: a bundle without pictures.

    >>> load_start("tiny").tokenizer.num_codes
    4096
    """
    if (Path(source) / "part.json").is_file():
        part = Part.load(Path(source), modality="image")
        spec, folder, provenance = part.spec, part.folder, part.provenance
    else:
        bundle = Bundle.open(find_bundle(source))
        if "image" not in bundle.sections:
            raise ConfigError(f"{source}: expected a bundle with pictures to start from")
        section = bundle.sections["image"]
        spec, folder, provenance = section.spec, bundle.folder / "image", section.provenance
    return Start(tokenizer=ImageTokenizer.from_spec(spec, folder), provenance=provenance)


def continue_from(
    codec: ImageCodec,
    tokenizer: ImageTokenizer,
    *,
    is_encoder_new: bool = False,
    learns: Learns = "encoder",
) -> None:
    """Give `codec` a tokenizer's weights, and freeze what does not learn on.

    Args:
        codec: of the tokenizer's shape, but for more blocks of the encoder, or a context.
        tokenizer: whose codes stay.
        is_encoder_new: whether the codec's encoder is kept as it is, of whatever shape.
        learns: `encoder` freezes what gives codes their meaning; `pixels` the encoder, too, and
            lets the pixel decoder learn on, or begin anew where it has another shape; `all` freezes
            nothing: codes move, there may be more of them, and ids no longer mean what they meant.

    Raises:
        ConfigError: another shape than the tokenizer's, but for more blocks or a context.
    """
    if not is_encoder_new:
        if not isinstance(tokenizer.encoder, ImageEncoder):
            raise ConfigError(
                "expected a start that dvse train image has made, received an imported tokenizer "
                "of another kind, which can only encode"
            )
        _deepen(codec.encoder, tokenizer.encoder)
    assert tokenizer.quantizer is not None, "a saved tokenizer is no draft"
    if codec.decoder is not None:
        _take_pixels(codec, tokenizer, may_begin_anew=learns == "pixels")
    codec.quantizer.keep(tokenizer.quantizer, is_moving=learns == "all")
    if learns == "all":
        return
    codec.freeze(codec.quantizer.project_out)
    if learns == "pixels":
        codec.freeze(codec.encoder)
        codec.freeze(codec.quantizer.project_in)
    elif codec.decoder is not None:
        codec.freeze(codec.decoder)


def _take_pixels(codec: ImageCodec, tokenizer: ImageTokenizer, *, may_begin_anew: bool) -> None:
    assert codec.decoder is not None
    if tokenizer.decoder is not None and tokenizer.decoder.config == codec.decoder.config:
        codec.decoder.load_state_dict(tokenizer.decoder.state_dict())
    elif not may_begin_anew:
        theirs = tokenizer.decoder and tokenizer.decoder.config
        raise ConfigError(
            f"expected the pixel decoder of the start, {theirs}, received "
            f"{codec.decoder.config}; give the flags that it was trained with"
        )


def _deepen(encoder: ImageEncoder, start: ImageEncoder) -> None:
    blocks: Any = encoder.backbone.blocks
    added = range(len(start.backbone.blocks), len(blocks))
    new = {k: v for k, v in encoder.state_dict().items() if _block_of(k) in added}
    kept = {**_context_of(encoder), **new} if start.context_stem is None else new
    try:
        encoder.load_state_dict({**start.state_dict(), **kept})
    except RuntimeError as error:
        message = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"expected an encoder of the start's shape, or one with more blocks; {message}"
        ) from error
    for number in added:
        for last in (blocks[number].attn.proj, blocks[number].mlp.fc2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


def _context_of(encoder: ImageEncoder) -> dict[str, Tensor]:
    """Return the tensors of the network beside a stem, and of its join, which begins at zero."""
    if (stem := encoder.context_stem) is None:
        return {}
    tensors = {id(tensor) for part in (stem.context, stem.join) for tensor in part.parameters()}
    return {name: p.detach() for name, p in encoder.named_parameters() if id(p) in tensors}


def _block_of(name: str) -> int | None:
    """Return the block's number in `backbone.blocks.3.norm1.weight`."""
    words = name.split(".")
    return int(words[2]) if words[:2] == ["backbone", "blocks"] else None
