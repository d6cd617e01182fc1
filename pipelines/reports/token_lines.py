"""Tokens as text for a person: a picture's grid of codes, units with their times, text pieces."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dvse.blocks import KINDS
from dvse.special_tokens import (
    BEGIN_OF_AUDIO,
    BEGIN_OF_IMAGE,
    END_OF_AUDIO,
    END_OF_IMAGE,
    MAX_GRID_SIDE,
    grid_token,
)
from dvse.vocabulary import Vocabulary

_WIDTH = 96
_MOST_UNITS = 400


def row_lines(
    row: Mapping[str, Any], vocabulary: Vocabulary, piece: Callable[[int], str]
) -> Iterator[str]:
    """Yield lines that show the tokens of one row of a shard.

    Args:
        row: `ids`, and `grid_h`, `grid_w`, `durations`, `frame_rate_hz` where it has them.
        vocabulary: what the ids mean.
        piece: the text piece of an id.
    """
    ids = np.asarray(row["ids"], dtype=np.int64)
    kinds = vocabulary.kinds(ids)
    sides = {vocabulary.special_tokens.get(grid_token(n)): n for n in range(1, MAX_GRID_SIDE + 1)}
    columns = row.get("grid_w")
    at = 0
    while at < len(ids):
        stop = at + 1
        while stop < len(ids) and kinds[stop] == kinds[at]:
            stop += 1
        kind = KINDS[kinds[at]]
        run = ids[at:stop]
        if kind == "text":
            yield from _wrapped([_quoted(piece(int(i))) for i in run])
        elif kind == "special":
            names = [vocabulary.name_of(int(i)) for i in run]
            columns = sides.get(int(run[-1]), columns)
            brackets = (BEGIN_OF_IMAGE, END_OF_IMAGE, BEGIN_OF_AUDIO, END_OF_AUDIO)
            if any(name not in brackets for name in names):
                yield from _wrapped(names)
        elif kind == "image":
            yield from _grid(run, columns, vocabulary)
        else:
            yield from _units(run, row, vocabulary)
        at = stop


def head_line(row: Mapping[str, Any]) -> str:
    """Return one line that says what a row is."""
    facts = [row["modality"], f"{len(row['ids']):,} ids"]
    if row.get("grid_h"):
        facts.append(f"{row['grid_h']} x {row['grid_w']} codes")
    if row.get("duration_s") is not None:
        facts.append(f"{row['duration_s']:.2f} s at {row['frame_rate_hz'] or 0:g} Hz")
    if row.get("num_levels", 1) > 1:
        facts.append(f"{row['num_levels']} levels")
    if row.get("loss_mask") is not None:
        facts.append(f"{sum(map(bool, row['loss_mask']))} ids carry loss")
    name = "".join(c if c.isprintable() else "�" for c in row["id"])
    return f"{name}: {', '.join(facts)}"


def _grid(ids: np.ndarray, columns: int | None, vocabulary: Vocabulary) -> Iterator[str]:
    codes, _ = vocabulary.codes_of("image", ids)
    levels = vocabulary.num_levels("image")
    digits = len(str(vocabulary.num_codes("image") - 1))
    for level in range(levels):
        if levels > 1:
            yield f"level {level}"
        for line in codes[level::levels].reshape(-1, columns or len(codes) // levels):
            yield " ".join(f"{code:{digits}d}" for code in line)


def _units(ids: np.ndarray, row: Mapping[str, Any], vocabulary: Vocabulary) -> Iterator[str]:
    codes, _ = vocabulary.codes_of("audio", ids)
    levels = vocabulary.num_levels("audio")
    units = codes.reshape(-1, levels)
    durations = row.get("durations")
    frames = np.ones(len(units), dtype=np.int64)
    if durations is not None and len(durations) == len(units):
        frames = np.asarray(durations, dtype=np.int64)
    rate = row.get("frame_rate_hz") or 0.0
    # Equal neighbours are shown once, with how long they last.
    starts = np.flatnonzero(np.r_[True, (units[1:] != units[:-1]).any(axis=1)])
    begins = np.cumsum(frames) - frames
    words = []
    for number, start in enumerate(starts[:_MOST_UNITS]):
        stop = starts[number + 1] if number + 1 < len(starts) else len(units)
        lasting = int(frames[start:stop].sum())
        name = "/".join(map(str, units[start].tolist()))
        time = f"{begins[start] / rate:.2f}s:" if rate else ""
        words.append(f"{time}{name}" + (f"x{lasting}" if lasting > 1 else ""))
    if len(starts) > _MOST_UNITS:
        words.append(f"… and {len(starts) - _MOST_UNITS} more")
    yield from _wrapped(words)
    if len(ids) < len(codes):
        yield f"{len(units):,} units in {len(ids):,} ids"


def _wrapped(words: Sequence[str]) -> Iterator[str]:
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) > _WIDTH:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
    if line:
        yield line


def _quoted(piece: str) -> str:
    shown = piece.replace("▁", " ")
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown) + "'"
