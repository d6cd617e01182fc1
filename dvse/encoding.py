"""What tokenising one row gives, and what decoding ids gives back. Knows no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Span:
    """Where one item of a row stands in its ids.

    Attributes:
        modality: `text`, `image`, `audio` or `special`.
        start, stop: half-open range in `Encoding.ids`, begin and end tokens included.
        grid: rows and columns of codes of a picture.
        duration_s, frame_rate_hz: of a recording.
        durations: frames that each unit stands for, `int32 [units]`, where repeats were merged; an
            id that is a run of units has one for each of them.
    """

    modality: str
    start: int
    stop: int
    grid: tuple[int, int] | None = None
    duration_s: float | None = None
    frame_rate_hz: float | None = None
    durations: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """The tokens of one row.

    Attributes:
        ids: `int64 [n]`, ids of the shared vocabulary.
        modality_ids: `int8 [n]`, 0 text and specials, 1 image, 2 audio (begin and end included).
        spans: one for each item of the row, in order.
        num_levels: residual levels of the codebook of a row that holds one kind of media, else 1.
    """

    ids: np.ndarray
    modality_ids: np.ndarray
    spans: tuple[Span, ...]
    num_levels: int = 1

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def modality(self) -> str:
        """`text`, `image` or `audio`; `mixed` where a row holds several kinds or several items."""
        kinds = [s.modality for s in self.spans if s.modality != "special"]
        return kinds[0] if len(kinds) == 1 else "mixed" if set(kinds) - {"text"} else "text"

    @property
    def grid(self) -> tuple[int, int] | None:
        """Grid of the picture of a row that is one picture."""
        return self._only("image").grid if self.modality == "image" else None

    @property
    def duration_s(self) -> float | None:
        """Seconds of all recordings of the row, `None` without one."""
        seconds = [s.duration_s for s in self.spans if s.duration_s is not None]
        return float(sum(seconds)) if seconds else None

    @property
    def frame_rate_hz(self) -> float | None:
        """Frames a second of the recordings, before merging."""
        return next((s.frame_rate_hz for s in self.spans if s.frame_rate_hz is not None), None)

    @property
    def durations(self) -> np.ndarray | None:
        """Frames that each unit stands for, in a row that is one recording with merged units."""
        return self._only("audio").durations if self.modality == "audio" else None

    def mask(self, chosen: Sequence[bool]) -> np.ndarray:
        """Return `bool [n]`, true on the ids of the items that are chosen (one flag an item)."""
        mask = np.zeros(len(self.ids), dtype=bool)
        for span, is_chosen in zip(self.spans, chosen, strict=True):
            mask[span.start : span.stop] = is_chosen
        return mask

    def _only(self, modality: str) -> Span:
        return next(s for s in self.spans if s.modality == modality)


@dataclass(frozen=True, kw_only=True)
class TextSegment:
    """A stretch of text."""

    text: str
    modality: Literal["text"] = "text"


@dataclass(frozen=True, kw_only=True)
class SpecialSegment:
    """A special token that opens or closes neither picture nor recording."""

    name: str
    modality: Literal["special"] = "special"


@dataclass(frozen=True, kw_only=True)
class ImageSegment:
    """A picture.

    Attributes:
        codes: `int32 [grid_h, grid_w, num_levels]`.
        pixels: the reconstruction `uint8 [H, W, 3]`, `None` where the bundle has no pixel decoder.
    """

    codes: np.ndarray
    pixels: np.ndarray | None = None
    modality: Literal["image"] = "image"

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""
        return self.codes.shape[0], self.codes.shape[1]


@dataclass(frozen=True, kw_only=True)
class AudioSegment:
    """A recording.

    Attributes:
        units: `int32 [n, num_levels]`.
        frame_rate_hz: units a second before merging.
        samples: the sound again `float32 [n]`, `None` where the bundle has no way back to sound.
        sample_rate_hz: of `samples`.
    """

    units: np.ndarray
    frame_rate_hz: float
    samples: np.ndarray | None = None
    sample_rate_hz: int | None = None
    modality: Literal["audio"] = "audio"


Segment: TypeAlias = TextSegment | SpecialSegment | ImageSegment | AudioSegment
