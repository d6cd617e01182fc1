"""The half of a tokenizer that decode workers need: rows of items → chunks.

Picklable; holds settings, never weights. Every input error is found here, so that the chunks of
many rows can be encoded together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dvse.chunk import Chunk
from dvse.errors import InputError
from dvse.items import Audio, Image, Item, Special, Text
from dvse.media_tokenizer import Preparer
from dvse.text.tokenizer import check_unicode


@dataclass(frozen=True, kw_only=True)
class Preparers:
    """The preparers of a bundle, `None` where it lacks the modality, and its special tokens."""

    image: Preparer | None = None
    audio: Preparer | None = None
    special_tokens: frozenset[str] = frozenset()

    def chunks(self, sequence: Sequence[Item]) -> Iterator[Chunk]:
        """Yield the chunks of one row in order.

        Raises:
            InputError: an item cannot be read or decoded, or the bundle lacks its modality or
                special token.
        """
        for part, item in enumerate(sequence):
            match item:
                case Text():
                    yield Chunk(modality="text", part=part, data=check_unicode(item.text))
                case Special():
                    if item.name not in self.special_tokens:
                        raise InputError(
                            "expected a special token of this bundle, such as <|user|>, received "
                            f"{item.name!a}"
                        )
                    yield Chunk(modality="special", part=part, data=item.name)
                case Image():
                    yield from _needed(self.image, "image").prepare(item, part=part)
                case Audio():
                    yield from _needed(self.audio, "audio").prepare(item, part=part)


def _needed(preparer: Preparer | None, modality: str) -> Preparer:
    if preparer is None:
        raise InputError(f"this bundle has no {modality} tokenizer; load one that has")
    return preparer
