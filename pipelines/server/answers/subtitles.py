"""Timed text as SubRip and WebVTT files. Knows seconds and words."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TimedText:
    """Words between two moments, in seconds."""

    start: float
    end: float
    text: str


def as_srt(entries: Sequence[TimedText]) -> str:
    r"""Return a SubRip file.

    >>> as_srt([TimedText(start=0.5, end=61.25, text="seven")])
    '1\n00:00:00,500 --> 00:01:01,250\nseven\n\n'
    """
    return "".join(
        f"{number}\n{_clock(e.start, ',')} --> {_clock(e.end, ',')}\n{_lines(e.text)}\n\n"
        for number, e in enumerate(entries, 1)
    )


def as_vtt(entries: Sequence[TimedText]) -> str:
    r"""Return a WebVTT file (W3C, 2019).

    >>> as_vtt([TimedText(start=0, end=1, text="a --> b")])
    'WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na --&gt; b\n\n'
    """
    cues = [
        f"{_clock(e.start, '.')} --> {_clock(e.end, '.')}\n{_escaped(_lines(e.text))}\n\n"
        for e in entries
    ]
    return "WEBVTT\n\n" + "".join(cues)


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _lines(text: str) -> str:
    """An empty line would end the entry."""
    return "\n".join(line for line in text.splitlines() if line.strip())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
