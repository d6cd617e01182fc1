"""What composed rows are put together from: stored rows, and parts with ids that may carry loss."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dvse.encoding import Encoding, Span

_MODALITY_IDS = {"text": 0, "special": 0, "image": 1, "audio": 2}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of a composed row.

    Attributes:
        ids: `int64 [n]`.
        span: what it is; its place is filled in when parts are joined.
        is_learnt: whether a decoder should learn to produce it.
    """

    ids: np.ndarray
    span: Span
    is_learnt: bool = True

    @classmethod
    def of_text(cls, ids: np.ndarray, *, is_learnt: bool = True) -> "Part":
        """Return a part of text ids."""
        return cls(ids=ids, span=Span(modality="text", start=0, stop=0), is_learnt=is_learnt)

    @classmethod
    def of_special(cls, token_id: int, *, is_learnt: bool = True) -> "Part":
        """Return a part that is one special token."""
        ids = np.array([token_id], dtype=np.int64)
        return cls(ids=ids, span=Span(modality="special", start=0, stop=0), is_learnt=is_learnt)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Part":
        """Return all of a stored row of one text, picture or recording."""
        grid = None if row["grid_h"] is None else (row["grid_h"], row["grid_w"])
        durations = row["durations"]
        span = Span(
            modality=row["modality"],
            start=0,
            stop=0,
            grid=grid,
            duration_s=row["duration_s"],
            frame_rate_hz=row["frame_rate_hz"],
            durations=None if durations is None else np.asarray(durations, dtype=np.int32),
        )
        return cls(ids=np.asarray(row["ids"], dtype=np.int64), span=span)

    def learnt(self, is_learnt: bool) -> "Part":
        """Return it with another loss."""
        return replace(self, is_learnt=is_learnt)


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A composed row on its way to a shard.

    Attributes:
        id: its name.
        parts: in order.
        inputs: the stored rows that are in it, in order.
        has_mask: whether loss is said at all; without, every id carries it.
    """

    id: str
    parts: Sequence[Part]
    inputs: Sequence[Mapping[str, Any]]
    has_mask: bool

    def encoding(self, num_levels: Mapping[str, int]) -> Encoding:
        """Return its ids with what stands where; neighbouring texts are one span."""
        spans: list[Span] = []
        start = 0
        for part in self.parts:
            stop = start + len(part.ids)
            last = spans[-1] if spans else None
            if last is not None and last.modality == part.span.modality == "text":
                spans[-1] = replace(last, stop=stop)
            else:
                spans.append(replace(part.span, start=start, stop=stop))
            start = stop
        media = {span.modality for span in spans} & {"image", "audio"}
        return Encoding(
            ids=_joined((part.ids for part in self.parts), np.int64),
            modality_ids=_joined(
                (np.full(s.stop - s.start, _MODALITY_IDS[s.modality]) for s in spans), np.int8
            ),
            spans=tuple(spans),
            num_levels=num_levels[media.pop()] if len(media) == 1 else 1,
        )

    def loss_mask(self) -> np.ndarray | None:
        """Return `bool [n]`, or `None` where every id carries loss."""
        if not self.has_mask:
            return None
        return _joined((np.full(len(p.ids), p.is_learnt) for p in self.parts), bool)


def _joined(arrays: Iterable[np.ndarray], dtype: Any) -> np.ndarray:
    found = list(arrays)
    return np.concatenate(found).astype(dtype) if found else np.zeros(0, dtype=dtype)
