"""The half of a tokenizer that decode workers need: rows of items → chunks.

Picklable; holds settings, never weights.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dvse.chunk import Chunk
from dvse.errors import InputError
from dvse.items import Audio, Image, Item, Special, Text
from dvse.media_tokenizer import Preparer


@dataclass(frozen=True, kw_only=True)
class Preparers:
    """The preparers of a bundle, `None` where it lacks the modality."""

    image: Preparer | None = None
    audio: Preparer | None = None

    def chunks(self, sequence: Sequence[Item]) -> Iterator[Chunk]:
        """Yield the chunks of one row in order.

        Raises:
            InputError: an item cannot be read or decoded, or the bundle lacks its modality.
        """
        for part, item in enumerate(sequence):
            match item:
                case Text():
                    yield Chunk(modality="text", part=part, data=item.text)
                case Special():
                    yield Chunk(modality="special", part=part, data=item.name)
                case Image():
                    yield from _needed(self.image, "image").prepare(item, part=part)
                case Audio():
                    yield from _needed(self.audio, "audio").prepare(item, part=part)


def _needed(preparer: Preparer | None, modality: str) -> Preparer:
    if preparer is None:
        raise InputError(f"this bundle has no {modality} tokenizer; load one that has")
    return preparer
