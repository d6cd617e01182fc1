"""Honest timing: two callables in turn, the ratio pair by pair, and the row that is published."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """One published figure.

    Attributes:
        name: dotted, `bench file.case`.
        ours, peer: medians in `unit`.
        ratio: what the bar is about (the docstring of the benchmark says which way is better).
        bar: the figure to reach, `None` where only published.
        note: what peer is, sizes, settings.
    """

    name: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    bar: str | None = None
    unit: str = "s"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Seconds of `ours` and `peer`, run in turn, and the median of the ratios of pairs."""

    ours_s: list[float]
    peer_s: list[float]

    @property
    def ours(self) -> float:
        """Median seconds of ours."""
        return statistics.median(self.ours_s)

    @property
    def peer(self) -> float:
        """Median seconds of the peer."""
        return statistics.median(self.peer_s)

    @property
    def speedup(self) -> float:
        """Median over pairs of peer time / our time: above 1 we are faster."""
        return statistics.median(p / o for o, p in zip(self.ours_s, self.peer_s, strict=True))

    def row(self, name: str, *, note: str, bar: str | None = None) -> Row:
        """Return the row of a whole run: medians in seconds, and how much faster we are."""
        return Row(
            name=name, ours=self.ours, peer=self.peer, ratio=self.speedup, bar=bar, note=note
        )


def alternate(ours: Callable[[], object], peer: Callable[[], object], *, pairs: int = 7) -> Pairs:
    """Warm both up once, then time them in turn `pairs` times."""
    ours()
    peer()
    ours_s, peer_s = [], []
    for _ in range(pairs):
        ours_s.append(_seconds(ours))
        peer_s.append(_seconds(peer))
    return Pairs(ours_s=ours_s, peer_s=peer_s)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
