"""Words and phrases with their times: alignments of recordings, read from JSON lines or CTM.

    {"id": "a.wav", "words": [{"word": "seven", "start": 0.12, "end": 0.55}, …],
     "segments": [{"text": "seven apples", "start": 0.1, "end": 1.4}, …]}

This is what Whisper and OpenAI's `verbose_json` write, with a name. CTM (NIST; Kaldi, MFA) has a
line a word: recording, channel, start, duration, word.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dvse.errors import ConfigError

Unit = Literal["word", "phrase"]

_PLACES = {"word": ("words", "word"), "phrase": ("segments", "text")}


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A word or phrase: what is said from `start_s` to `end_s`."""

    text: str
    start_s: float
    end_s: float


def read_alignments(path: Path, unit: Unit) -> dict[str, tuple[Timed, ...]]:
    """Return name of a recording → its words or phrases, in order of time.

    Raises:
        ConfigError: no such file, another form, or times that run backwards; file and line are
            named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected alignments; {error}") from None
    if path.suffix.lower() == ".ctm":
        if unit == "phrase":
            raise ConfigError(f"{path}: a .ctm has words only; give .jsonl with segments")
        return _read_ctm(path, lines)
    found: dict[str, tuple[Timed, ...]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{path}, line {number}"
            name, timed = _read_line(line, unit, where)
            if name in found:
                raise ConfigError(f"{where}: {name!r} is there already")
            found[name] = timed
    return found


def _read_line(line: str, unit: Unit, where: str) -> tuple[str, tuple[Timed, ...]]:
    key, text = _PLACES[unit]
    try:
        document: Mapping[str, Any] = json.loads(line)
        timed = tuple(
            Timed(text=one[text].strip(), start_s=float(one["start"]), end_s=float(one["end"]))
            for one in document[key]
        )
        name = document["id"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f'{where}: expected {{"id": …, "{key}": [{{"{text}": …, "start": …, "end": …}}]}}; '
            f"{type(error).__name__}: {error}"
        ) from None
    return str(name), _checked(timed, where)


def _read_ctm(path: Path, lines: list[str]) -> dict[str, tuple[Timed, ...]]:
    found: dict[str, list[Timed]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(";;"):
            continue
        try:
            name, _, start, length, word, *_ = line.split()
            one = Timed(text=word, start_s=float(start), end_s=float(start) + float(length))
        except ValueError:
            raise ConfigError(
                f"{path}, line {number}: expected recording, channel, start, duration and word, "
                f"received {line[:80]!r}"
            ) from None
        found.setdefault(name, []).append(one)
    return {name: _checked(tuple(some), f"{path}, {name}") for name, some in found.items()}


def _checked(timed: tuple[Timed, ...], where: str) -> tuple[Timed, ...]:
    """Starts have to rise; ends may pass the next start a little, as recognisers' do."""
    before = 0.0
    for one in timed:
        if not before <= one.start_s <= one.end_s:
            raise ConfigError(
                f"{where}: expected times that rise, received {one.text!r} from {one.start_s:g} to "
                f"{one.end_s:g} s after one from {before:g} s"
            )
        before = one.start_s
    return timed


def names_of(id: str) -> Iterator[str]:
    """Yield the names under which a recording may stand in an alignment: its own, and its stem.

    >>> list(names_of("a/seven.wav"))
    ['a/seven.wav', 'seven.wav', 'a/seven', 'seven']
    """
    stem = id.rpartition(".")[0] or id
    yield from dict.fromkeys((id, id.rpartition("/")[2], stem, stem.rpartition("/")[2]))
