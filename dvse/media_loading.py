"""The encoders of a bundle, on a device and under a numerics profile."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dvse.audio.loading import load_audio_tokenizer
from dvse.errors import ConfigError
from dvse.image.loading import load_image_tokenizer
from dvse.numerics import NumericsProfile
from dvse.storage.bundle import Bundle

if TYPE_CHECKING:
    from dvse.audio.tokenizer import AudioTokenizer
    from dvse.image.tokenizer import ImageTokenizer


@dataclass(frozen=True, kw_only=True)
class LoadedMedia:
    """The tokenizers of pictures and of sound that a bundle has."""

    image: "ImageTokenizer | None" = None
    audio: "AudioTokenizer | None" = None


def load_media(bundle: Bundle, *, device: str, profile: NumericsProfile) -> LoadedMedia:
    """Load the encoders of an opened bundle in the profile's precision and token budget.

    Raises:
        BundleFormatError: a spec that its modality cannot read, or files that do not fit.
        ConfigError: a precision that one of them does not have, or a budget that holds nothing.
    """
    how: dict[str, Any] = {
        "device": device,
        "precision": profile.precision,
        "threads": profile.threads,
    }
    image = audio = None
    if (section := bundle.sections.get("image")) is not None:
        image = load_image_tokenizer(section.spec, bundle.folder / "image", **how)
        image = image.with_batch_tokens(profile.batch_tokens)
    if (section := bundle.sections.get("audio")) is not None:
        audio = load_audio_tokenizer(section.spec, bundle.folder / "audio", **how)
        audio = audio.with_batch_tokens(profile.batch_tokens)
    media = LoadedMedia(image=image, audio=audio)
    _check_holds(profile.batch_tokens, media)
    return media


def _check_holds(batch_tokens: int | None, media: LoadedMedia) -> None:
    """Refuse a budget in which neither a picture nor a window finds room.

    One that is too small for one of both is the other's: of that, one is computed at a time.
    """
    sizes = {}
    if media.image is not None:
        sizes[media.image.max_chunk_tokens] = "a picture"
    if media.audio is not None:
        sizes[media.audio.max_chunk_tokens] = "a full window of sound"
    if batch_tokens is None or not sizes or batch_tokens >= min(sizes):
        return
    raise ConfigError(
        f"expected batch_tokens of at least {min(sizes):,}, {sizes[min(sizes)]} of this bundle, "
        f"received {batch_tokens:,}"
    )
