"""The contracts of filters on media: what they are shown of a recording and of a picture."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dvse.items import Image
from pipelines.filtering.row_filter import Refusal, RowFilter


class Meter(ABC):
    """Listens to one recording."""

    @abstractmethod
    def push(self, block: np.ndarray) -> None:
        """Take the next samples, mono float32 `[n]`, full scale 1."""

    @abstractmethod
    def finish(self) -> Refusal | None:
        """Return why the recording is refused, `None` if it is not."""


class SoundFilter(ABC):
    """Judges recordings; each of them once, whatever number of filters listens.

    Subclasses are picklable dataclasses: their fields are the keys of the filter's table.
    """

    name: ClassVar[str]

    @abstractmethod
    def meter(self, sample_rate_hz: int) -> Meter:
        """Return what listens to a recording of this rate."""


@dataclass(frozen=True, kw_only=True)
class PictureSize:
    """Width and height of a picture in pixels, as its header says."""

    width: int
    height: int


class PictureFilter(ABC):
    """Judges pictures by their headers, before any pixel is decoded."""

    name: ClassVar[str]

    @abstractmethod
    def judge(self, size: PictureSize) -> Refusal | None:
        """Return why the picture is refused, `None` if it is not."""


class MarkFilter(RowFilter):
    """A row filter that judges by a mark of a picture, which is made while the picture is at hand.

    The mark of a row that stays is kept in the journal of the job, beside the row.
    """

    @abstractmethod
    def mark(self, picture: Image) -> str:
        """Return the mark: a word without spaces.

        Raises:
            InputError: the picture cannot be decoded.
        """
