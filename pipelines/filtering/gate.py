"""The gate: filters that look at media before anything is encoded. Runs in the decode workers.

A recording is decoded once, and every filter on sound listens; of a picture the header is read
once. What is refused never reaches an encoder. Decoders are imported where they are used: the
classes here cross pipes to processes that open nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from dvse.chunk import Chunk
from dvse.errors import DecodeError, InputError
from dvse.items import Audio, Image, Item
from pipelines.filtering.media_filter import MarkFilter, PictureFilter, PictureSize, SoundFilter
from pipelines.filtering.row_filter import Refusal
from pipelines.sources.loading import Loaded

_SIGN_OF_LIFE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Examined(Loaded):
    """An input that the gate has looked at.

    Attributes:
        modality: `text`, `image`, `audio` or `mixed`.
        filter, refusal: who refused it and why; `None` if it may pass.
        marks: what filters on rows will want to know, by filter.
    """

    modality: str
    filter: str | None = None
    refusal: Refusal | None = None
    marks: Mapping[str, str] = field(default_factory=dict)

    def refused_row(self) -> dict[str, Any]:
        """Return what stands in place of a row where the input was refused."""
        assert self.refusal is not None
        return {
            "id": self.id,
            "modality": self.modality,
            "text": self.text,
            "source": self.source,
            "sha256": self.sha256,
            "filter": self.filter,
            "reason": self.refusal.reason,
            "score": self.refusal.score,
        }


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Filters on media, in the order of their file.

    Attributes:
        filters: on sounds and pictures.
        markers: filters on rows that want a mark of each picture.
    """

    filters: tuple[SoundFilter | PictureFilter, ...] = ()
    markers: tuple[MarkFilter, ...] = ()

    def examine(self, loaded: Loaded, items: Sequence[Item]) -> Iterator[Examined | None]:
        """Yield `None` now and then as a sign of life, and at last what was found.

        Raises:
            InputError: a recording or picture cannot be decoded.
        """
        refusals: dict[str, Refusal] = {}
        for item in items:
            if isinstance(item, Audio):
                yield from self._listen(item, refusals)
            elif isinstance(item, Image):
                self._look(item, refusals)
        first = next((kind.name for kind in self.filters if kind.name in refusals), None)
        pictures = [item for item in items if isinstance(item, Image)]
        has_marks = first is None and len(pictures) == 1
        yield Examined(
            **{f.name: getattr(loaded, f.name) for f in fields(Loaded)},
            modality=_modality(items),
            filter=first,
            refusal=None if first is None else refusals[first],
            marks={m.name: m.mark(pictures[0]) for m in self.markers} if has_marks else {},
        )

    def _listen(self, item: Audio, refusals: dict[str, Refusal]) -> Iterator[None]:
        listening = [kind for kind in self.filters if isinstance(kind, SoundFilter)]
        if not listening:
            return
        from dvse.audio.decoding import opened as opened_sound

        with opened_sound(item, max_duration_s=float("inf")) as recording:
            rate = recording.sample_rate_hz
            meters = {kind.name: kind.meter(rate) for kind in listening}
            received = 0
            for block in recording.blocks:
                for meter in meters.values():
                    meter.push(block)
                received += len(block)
                if received >= _SIGN_OF_LIFE_S * rate:
                    received = 0
                    yield
        for name, meter in meters.items():
            _note(refusals, name, meter.finish())

    def _look(self, item: Image, refusals: dict[str, Refusal]) -> None:
        looking = [kind for kind in self.filters if isinstance(kind, PictureFilter)]
        if not looking:
            return
        from dvse.image.opening import describe, opened, reason
        from dvse.image.quiet_pillow import quiet_pillow

        name = item.name or describe(item.source)
        try:
            with quiet_pillow(), opened(item.source, name) as picture:
                size = PictureSize(width=picture.width, height=picture.height)
        except InputError:
            raise
        except Exception as error:  # plugins raise OSError, SyntaxError, struct.error and others
            raise DecodeError(f"{name}: damaged or truncated picture; {reason(error)}") from error
        for kind in looking:
            _note(refusals, kind.name, kind.judge(size))


class ChunkMaker(Protocol):
    """What makes chunks of the items of a row."""

    def chunks(self, sequence: Sequence[Item]) -> Iterator[Chunk]:
        """Yield the chunks of one row in order."""


@dataclass(frozen=True, kw_only=True)
class GatedPreparer:
    """A preparer behind a gate: whoever makes chunks with it asks `gate` first."""

    preparer: ChunkMaker
    gate: Gate

    def chunks(self, sequence: Sequence[Item]) -> Iterator[Chunk]:
        """Yield the chunks of one row in order."""
        return self.preparer.chunks(sequence)


def _note(refusals: dict[str, Refusal], name: str, refusal: Refusal | None) -> None:
    if refusal is not None:
        refusals.setdefault(name, refusal)


def _modality(items: Sequence[Item]) -> str:
    """As `dvse.encoding.Encoding` says it of the row that would have been."""
    kinds = [type(item).__name__.lower() for item in items]
    shown = [kind for kind in kinds if kind != "special"]
    return shown[0] if len(shown) == 1 else "mixed" if set(shown) - {"text"} else "text"
