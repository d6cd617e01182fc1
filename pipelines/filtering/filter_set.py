"""Some filters together, as a job or a command holds them; knows kinds of filters, not each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.filtering.gate import Gate
from pipelines.filtering.media_filter import MarkFilter, PictureFilter, SoundFilter
from pipelines.filtering.row_filter import RowFilter
from pipelines.filtering.row_judge import RowJudge
from pipelines.settings import make, recorded, settings_of

Filter = SoundFilter | PictureFilter | RowFilter

_OF_MEDIA = (SoundFilter, PictureFilter, MarkFilter)


@dataclass(frozen=True, kw_only=True)
class FilterSet:
    """The filters of a file.

    Attributes:
        filters: in the order of the file.
    """

    filters: tuple[Filter, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The filters' names, in the order of the file."""
        return tuple(kind.name for kind in self.filters)

    @property
    def needs_media(self) -> list[str]:
        """Names of the filters that look at recordings and pictures themselves."""
        return [kind.name for kind in self.filters if isinstance(kind, _OF_MEDIA)]

    def gate(self) -> Gate | None:
        """Return what decode workers ask; `None` where no filter needs media."""
        media = [k for k in self.filters if isinstance(k, SoundFilter | PictureFilter)]
        markers = [_copy(k) for k in self.filters if isinstance(k, MarkFilter)]
        return Gate(filters=tuple(media), markers=tuple(markers)) if media or markers else None

    def judge(self, *, decode_text: Callable[[Sequence[int]], str] | None = None) -> RowJudge:
        """Return the filters on rows at work."""
        rows = [kind for kind in self.filters if isinstance(kind, RowFilter)]
        return RowJudge(rows, decode_text=decode_text)

    def identity(self) -> list[Any]:
        """Return what decides every verdict, as JSON."""
        return [[kind.name, recorded(kind) | _notes(kind)] for kind in self.filters]


def _notes(kind: Filter) -> dict[str, Any]:
    return dict(kind.notes()) if isinstance(kind, RowFilter) else {}


def _copy(kind: MarkFilter) -> MarkFilter:
    """As it was made, without what it remembers."""
    return make(type(kind), {s.name: getattr(kind, s.name) for s in settings_of(type(kind))})
