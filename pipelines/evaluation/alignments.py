"""Which phone is said when: forced alignments in the forms in which people publish them.

    a folder of .TextGrid   Praat, long and short form; Montreal Forced Aligner's LibriSpeech
    .ctm                    utterance, channel, start, duration, phone (Kaldi, NIST)
    .tsv                    `utterance<TAB>phone,phone,…`, a phone a frame: what HuBERT's measures
                            hold units against (`measure_teacher_quality.py --phn_dir`)
    .phn beside a .tsv      a line of frames an utterance of that list of files, as they read labels
    any other text          `utterance phone phone …`, a phone a frame (libri-light's CPC files;
                            Kaldi's `ali-to-phones --per-frame`), or `phone count ; phone count`
                            (`--write-lengths`)

Utterances are named as files are, without folder and ending. Vowels of ARPAbet lose their stress,
as they do in HuBERT's measures (AH0, AH1 and AH2 are one phone), unless it is to be kept.
"""

import bisect
import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dvse.errors import TrainingError

PHONE_TIERS = ("phones", "phone", "phn", "segments")
_NO_PHONE = re.compile(r'[",\t]')  # words between commas, columns: other forms
_STRESS = re.compile(r"(?<=^[A-Z]{2})[012]$")
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|<(exists|absent)>')


@dataclass(frozen=True, kw_only=True)
class PhoneSpan:
    """A phone from `start_s` until just before `stop_s`."""

    start_s: float
    stop_s: float
    phone: str


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The phones of one utterance, in order.

    >>> a = Alignment(spans=(PhoneSpan(start_s=0.0, stop_s=0.1, phone="AH"),))
    >>> a.at([0.05, 0.1])
    ['AH', None]
    """

    spans: Sequence[PhoneSpan]

    def at(self, times_s: Sequence[float]) -> list[str | None]:
        """Return the phone at each time, `None` where there is none."""
        starts = [span.start_s for span in self.spans]
        found: list[str | None] = []
        for time_s in times_s:
            place = bisect.bisect_right(starts, time_s) - 1
            inside = place >= 0 and time_s < self.spans[place].stop_s
            found.append(self.spans[place].phone if inside else None)
        return found


def read_alignments(
    path: Path,
    *,
    frame_rate_hz: float = 100.0,
    tier: str | None = None,
    keep_stress: bool = False,
) -> dict[str, Alignment]:
    """Return the alignment of each utterance.

    Args:
        path: a file, or a folder of TextGrids (searched to the bottom).
        frame_rate_hz: of forms that give a phone a frame.
        tier: of a TextGrid; by default the one that is called as phones are.
        keep_stress: AH0 and AH1 are two phones.

    Raises:
        TrainingError: it cannot be read, is none of these forms, or holds nothing.

    Example:
        read_alignments(Path("librispeech_alignments/dev-clean"))["84-121123-0000"].spans
    """
    try:
        found = dict(_read(Path(path), frame_rate_hz, tier))
    except (OSError, ValueError, IndexError) as error:
        raise TrainingError(
            f"{path}: expected alignments as TextGrid, CTM, .tsv of 'utterance<TAB>phone,phone', "
            f".phn beside a .tsv, or lines of 'utterance phone phone …'; {error}"
        ) from error
    if not found:
        raise TrainingError(f"{path}: expected alignments, found none")
    return found if keep_stress else {name: _unstressed(one) for name, one in found.items()}


def _unstressed(alignment: Alignment) -> Alignment:
    spans = tuple(replace(s, phone=_STRESS.sub("", s.phone)) for s in alignment.spans)
    return Alignment(spans=spans)


def _read(path: Path, frame_rate_hz: float, tier: str | None) -> Iterator[tuple[str, Alignment]]:
    if path.is_dir():
        for one in sorted(path.rglob("*.[Tt]ext[Gg]rid")):
            yield one.stem, _text_grid(one, tier)
    elif path.suffix.lower() == ".textgrid":
        yield path.stem, _text_grid(path, tier)
    elif path.suffix.lower() == ".ctm":
        yield from _ctm(path)
    elif path.suffix.lower() == ".tsv":
        yield from _frames_behind_tabs(path, frame_rate_hz)
    elif path.suffix.lower() == ".phn":
        names = path.with_suffix(".tsv").read_text(encoding="utf-8").splitlines()[1:]
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(names) != len(lines):
            raise ValueError(f"{len(lines)} lines, {len(names)} in {path.with_suffix('.tsv').name}")
        for name, line in zip(names, lines, strict=True):
            yield Path(name.split("\t")[0]).stem, _frames(line.split(), frame_rate_hz)
    else:
        yield from _lines(path, frame_rate_hz)


def _frames_behind_tabs(path: Path, frame_rate_hz: float) -> Iterator[tuple[str, Alignment]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        name, tab, rest = line.rstrip().partition("\t")
        phones = rest.split(",")
        if not tab or not all(phones) or any(char.isspace() for char in name + rest):
            raise ValueError(
                f"line {number}: expected 'utterance<TAB>phone,phone,…', received {line[:60]!r}"
            )
        yield name, _frames(phones, frame_rate_hz)


def _lines(path: Path, frame_rate_hz: float) -> Iterator[tuple[str, Alignment]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        name, _, rest = line.strip().partition(" ")
        if not name:
            continue
        if not rest or _NO_PHONE.search(rest):
            raise ValueError(
                f"line {number}: expected 'utterance phone phone …', received {line[:60]!r}"
            )
        if ";" not in rest:
            yield name, _frames(rest.split(), frame_rate_hz)
            continue
        phones: list[str] = []
        for part in rest.split(";"):
            words = part.split()
            if len(words) != 2:
                raise ValueError(
                    f"line {number}: expected 'phone count', received {part.strip()!r}"
                )
            phones += [words[0]] * int(words[1])
        yield name, _frames(phones, frame_rate_hz)


def _frames(phones: Sequence[str], frame_rate_hz: float) -> Alignment:
    spans: list[PhoneSpan] = []
    begun = 0
    for place in range(1, len(phones) + 1):
        if place == len(phones) or phones[place] != phones[begun]:
            start_s, stop_s = begun / frame_rate_hz, place / frame_rate_hz
            spans.append(PhoneSpan(start_s=start_s, stop_s=stop_s, phone=phones[begun]))
            begun = place
    return Alignment(spans=tuple(spans))


def _ctm(path: Path) -> Iterator[tuple[str, Alignment]]:
    spans: dict[str, list[PhoneSpan]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        words = line.split()
        if not words or line.startswith(";;"):
            continue
        if len(words) < 5:
            raise ValueError(f"line {number}: expected utterance, channel, start, duration, phone")
        start_s = float(words[2])
        span = PhoneSpan(start_s=start_s, stop_s=start_s + float(words[3]), phone=words[4])
        spans.setdefault(words[0], []).append(span)
    for name, found in spans.items():
        yield name, Alignment(spans=tuple(sorted(found, key=lambda span: span.start_s)))


def _text_grid(path: Path, tier: str | None) -> Alignment:
    tiers = dict(_tiers(_decoded(path)))
    names = (tier,) if tier is not None else PHONE_TIERS
    for name, spans in tiers.items():
        # MFA names tiers by speaker: "phones", "anna - phones".
        if name.lower().rpartition(" - ")[2] in names or name in names:
            return Alignment(spans=spans)
    raise ValueError(f"{path.name}: expected a tier {' or '.join(names)}, found {list(tiers)}")


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_wide else "utf-8-sig")


def _tiers(text: str) -> Iterator[tuple[str, tuple[PhoneSpan, ...]]]:
    """Yield the interval tiers. The long form only adds names and numbers in brackets."""
    values: list[str] = []
    for quoted, number, flag in _TOKEN.findall(re.sub(r"\[\d*\]", "", text)):
        values.append(flag or number or quoted.replace('""', '"'))
    if values[:2] != ["ooTextFile", "TextGrid"]:
        raise ValueError("no TextGrid")
    place = 6
    for _ in range(int(values[5])):
        kind, name, count = values[place], values[place + 1], int(values[place + 4])
        place += 5
        if kind == "IntervalTier":
            rows = [values[place + 3 * i : place + 3 * i + 3] for i in range(count)]
            yield (
                name,
                tuple(
                    PhoneSpan(start_s=float(a), stop_s=float(b), phone=phone)
                    for a, b, phone in rows
                ),
            )
        place += (3 if kind == "IntervalTier" else 2) * count


def utterance_of(name: str, known: Mapping[str, Alignment]) -> Alignment | None:
    """Return the alignment of a recording by its file's name."""
    return known.get(Path(name).stem) or known.get(name)
