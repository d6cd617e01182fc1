"""ABX over an item file, as ZeroSpeech defines it: every triple of every cell.

An item is a phone in its context: file, onset, offset, phone, the phones around it, speaker. A and
X are one phone, B another; within a speaker all three are by one, across speakers X is by another.
A cell's error is the share of its triples where X is nearer to B, ties counted half. Cells are
averaged over contexts, then speakers, then pairs of phones (Schatz et al. 2013; Dunbar et al. 2021;
fastabx, Poli et al. 2025, whose definition this is).

Frames are those whose middle lies from onset to offset, both included; times are decimal, so that
no frame hangs on a rounding. The distance of frames is the angle between them, or 0 and 1 for
units.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

import numpy as np

from dvse.errors import TrainingError
from pipelines.evaluation.measures.dtw import path_normalized

Speakers = Literal["within", "across"]
Context = Literal["within", "any"]
_COLUMNS = ["#file", "onset", "offset", "#phone", "prev-phone", "next-phone", "speaker"]
_BORDER = 1e-12
_PAIRS_AT_ONCE = 20_000


@dataclass(frozen=True, kw_only=True)
class Item:
    """A phone in its context."""

    file: str
    onset: Decimal
    offset: Decimal
    phone: str
    before: str
    after: str
    speaker: str

    def frames(self, rate_hz: Decimal) -> tuple[int, int]:
        """Return the half-open range of its frames.

        >>> item = Item(file="a", onset=Decimal("0.2925"), offset=Decimal("0.4725"), phone="IH",
        ...             before="L", after="NG", speaker="6295")
        >>> item.frames(Decimal(50))
        (15, 24)
        """
        half = Decimal("0.5")
        first = (self.onset * rate_hz - half).to_integral_value(ROUND_CEILING)
        last = (self.offset * rate_hz - half).to_integral_value(ROUND_FLOOR)
        return int(first), int(last) + 1


def read_items(path: Path) -> list[Item]:
    """Return the lines of an item file.

    Raises:
        TrainingError: another header, a line with other columns, or a time that is none.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0].split() != _COLUMNS:
        raise TrainingError(f"{path}: expected an item file that begins with {' '.join(_COLUMNS)}")
    items = []
    for number, line in enumerate(lines[1:], start=2):
        words = line.split()
        try:
            file, onset, offset, phone, before, after, speaker = words
            item = Item(
                file=file,
                onset=Decimal(onset),
                offset=Decimal(offset),
                phone=phone,
                before=before,
                after=after,
                speaker=speaker,
            )
        except (ValueError, InvalidOperation) as error:
            raise TrainingError(f"{path}: line {number} is no item: {line!r}") from error
        items.append(item)
    return items


def cut_items(
    items: Sequence[Item], frames_of: Callable[[str], np.ndarray], *, rate_hz: Decimal
) -> list[np.ndarray]:
    """Return the frames `[n, dim]` of each item.

    Args:
        frames_of: all frames of a file, called once for each in a row of items.
        rate_hz: frames a second.

    Raises:
        TrainingError: an item that is shorter than a frame or passes the end of its file.
    """
    cut, name, frames = [], None, np.zeros((0, 1))
    for item in items:
        if item.file != name:
            name, frames = item.file, frames_of(item.file)
        first, stop = item.frames(rate_hz)
        if not 0 <= first < stop <= len(frames):
            raise TrainingError(
                f"{item.file}: {item.phone} from {item.onset} to {item.offset} s would be frames "
                f"{first}..{stop - 1} of {len(frames)}; leave it out of the item file, or pad the "
                "recording"
            )
        cut.append(frames[first:stop])
    return cut


def item_abx_error(
    items: Sequence[Item],
    frames: Sequence[np.ndarray],
    *,
    speaker: Speakers = "within",
    context: Context = "within",
    is_discrete: bool = False,
) -> float:
    """Return the error, 0 … 1; 0.5 is chance.

    Args:
        items: what is told apart.
        frames: of each item, `[n, dim]`; units `[n, 1]` where `is_discrete`.
        speaker: all three by one speaker, or X by another.
        context: the same phones around all three, or any.

    Raises:
        TrainingError: not one cell.
    """
    distances = _Distances(frames, is_discrete=is_discrete)
    errors: dict[tuple[str, str], dict[str, list[float]]] = {}
    for cell in _cells(items, speaker, context):
        # Without contexts there is nothing to average over before speakers.
        by = cell.speaker if context == "within" else ""
        errors.setdefault(cell.phones, {}).setdefault(by, []).append(distances.error(cell))
    if not errors:
        raise TrainingError("ABX needs two phones in one context, one of them said twice")
    means = [np.mean([np.mean(found) for found in by.values()]) for by in errors.values()]
    return float(np.mean(means))


@dataclass(frozen=True, kw_only=True)
class _Cell:
    phones: tuple[str, str]
    speaker: str
    a: list[int]
    b: list[int]
    x: list[int]
    is_symmetric: bool


def _cells(items: Sequence[Item], speaker: Speakers, context: Context) -> Iterator[_Cell]:
    """Yield cells; A and B share context and speaker, X has A's phone and context."""
    groups: dict[tuple[str, str], dict[str, dict[str, list[int]]]] = defaultdict(dict)
    for place, item in enumerate(items):
        around = (item.before, item.after) if context == "within" else ("", "")
        phones = groups[around].setdefault(item.speaker, {})
        phones.setdefault(item.phone, []).append(place)
    for speakers in groups.values():
        for name, phones in speakers.items():
            for one, a in phones.items():
                for other, b in phones.items():
                    if one != other:
                        for x in _others(speakers, name, one, speaker):
                            yield _Cell(
                                phones=(one, other),
                                speaker=name,
                                a=a,
                                b=b,
                                x=x,
                                is_symmetric=speaker == "within",
                            )


def _others(
    speakers: Mapping[str, Mapping[str, list[int]]], name: str, phone: str, speaker: Speakers
) -> Iterator[list[int]]:
    if speaker == "within":
        if len(speakers[name][phone]) > 1:
            yield speakers[name][phone]
        return
    for other, phones in speakers.items():
        if other != name and phone in phones:
            yield phones[phone]


class _Distances:
    def __init__(self, frames: Sequence[np.ndarray], *, is_discrete: bool) -> None:
        self._is_discrete = is_discrete
        self._frames = [
            np.asarray(one) if is_discrete else _unit_length(np.asarray(one, np.float32))
            for one in frames
        ]
        self._known: dict[tuple[int, int], float] = {}

    def error(self, cell: _Cell) -> float:
        to_a = self._table(cell.x, cell.a)
        to_b = self._table(cell.x, cell.b)
        wins = np.sign(to_a[:, :, None] - to_b[:, None, :])
        if cell.is_symmetric:  # X is one of A
            wins = wins[~np.eye(len(cell.a), dtype=bool)]
        return float(1 - np.mean(0.5 * (1 - wins), dtype=np.float64))

    def _table(self, rows: Sequence[int], columns: Sequence[int]) -> np.ndarray:
        wanted = [(i, j) for i in rows for j in columns]
        missing = [pair for pair in dict.fromkeys(wanted) if pair not in self._known]
        for start in range(0, len(missing), _PAIRS_AT_ONCE):
            some = missing[start : start + _PAIRS_AT_ONCE]
            self._known.update(zip(some, self._warped(some).tolist(), strict=True))
        found = np.array([self._known[pair] for pair in wanted], np.float32)
        return found.reshape(len(rows), len(columns))

    def _warped(self, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        tables = [self._distance(self._frames[i], self._frames[j]) for i, j in pairs]
        heights = np.array([table.shape[0] for table in tables])
        widths = np.array([table.shape[1] for table in tables])
        costs = np.zeros((len(tables), heights.max(), widths.max()), np.float32)
        for number, table in enumerate(tables):
            costs[number, : table.shape[0], : table.shape[1]] = table
        return path_normalized(costs, heights, widths)

    def _distance(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        if self._is_discrete:
            return (one[:, None, 0] != other[None, :, 0]).astype(np.float32)
        angles = np.arccos(np.clip(one @ other.T, -1, 1))
        return (angles / np.float32(math.pi)).astype(np.float32)


def _unit_length(frames: np.ndarray) -> np.ndarray:
    """Scale frames to length one; a silent one is as far from every other as can be.

    Each gets one more channel, with which a frame of zeros lies opposite (fastabx's border).
    """
    norms = np.linalg.norm(frames, axis=1, keepdims=True)
    is_zero = norms[:, 0] == 0
    scaled = frames / np.where(norms == 0, 1, norms)
    scaled[is_zero] = 1 / math.sqrt(frames.shape[1])
    border = np.where(is_zero, -2 * _BORDER, _BORDER)[:, None]
    return np.concatenate([scaled, border], axis=1).astype(np.float32)
