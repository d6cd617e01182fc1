"""Progress for people: a bar on a terminal, a plain line now and then anywhere else."""

import sys
import time
from typing import Protocol, TextIO

from pipelines.job.summary import duration

_LINE_EVERY_S, _FIRST_LINE_S = 10.0, 1.0


class Progress(Protocol):
    """Told what happens; shows it or not."""

    def note(self, text: str) -> None:
        """Show a line of text."""

    def begin(self, total: int | None, already: int) -> None:
        """The work begins: `already` of `total` inputs were done by earlier runs."""

    def update(self, errors: int) -> None:
        """One more input has an outcome; `errors` so far."""

    def end(self) -> None:
        """The work is over."""


class NoProgress:
    """Shows nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def begin(self, total: int | None, already: int) -> None:
        """Show nothing."""

    def update(self, errors: int) -> None:
        """Show nothing."""

    def end(self) -> None:
        """Show nothing."""


class PlainProgress:
    """A line after a second and then every ten, for logs."""

    def __init__(self, stream: TextIO | None = None, *, every_s: float = _LINE_EVERY_S) -> None:
        self._stream = stream or sys.stderr
        self._every_s = every_s
        self._total: int | None = None
        self._already = self._done = self._errors = 0
        self._began = self._due = time.monotonic()

    def note(self, text: str) -> None:
        """Print it."""
        print(text, file=self._stream, flush=True)

    def begin(self, total: int | None, already: int) -> None:
        """Start the clock."""
        self._total, self._already = total, already
        self._began = time.monotonic()
        self._due = self._began + min(_FIRST_LINE_S, self._every_s)

    def update(self, errors: int) -> None:
        """Count, and print when it is time."""
        self._done += 1
        self._errors = errors
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._every_s
            self.note(self._line(now))

    def end(self) -> None:
        """Print where it ended."""
        if self._done:
            self.note(self._line(time.monotonic()))

    def _line(self, now: float) -> str:
        rate = self._done / max(now - self._began, 1e-6)
        at = self._already + self._done
        if self._total is None:
            return f"{at:,} inputs, {rate:,.1f} a second, {self._errors:,} errors"
        left = duration((self._total - at) / rate) if at < self._total else "none"
        share = 100 * at / max(self._total, 1)
        return (
            f"{at:,} of {self._total:,} inputs ({share:.0f} %), {rate:,.1f} a second, time left "
            f"{left}, {self._errors:,} errors"
        )


class BarProgress:
    """A bar with rate, time left and errors, for terminals."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._bar: tqdm | None = None

    def note(self, text: str) -> None:
        """Print it above the bar."""
        self._tqdm.write(text, file=sys.stderr)

    def begin(self, total: int | None, already: int) -> None:
        """Show the bar."""
        self._bar = self._tqdm(
            total=total, initial=already, unit=" inputs", smoothing=0.05, dynamic_ncols=True
        )

    def update(self, errors: int) -> None:
        """Move the bar."""
        assert self._bar is not None
        if errors:
            self._bar.set_postfix(errors=errors, refresh=False)
        self._bar.update()

    def end(self) -> None:
        """Leave the bar where it is."""
        if self._bar is not None:
            self._bar.close()


def make_progress(*, is_quiet: bool = False) -> Progress:
    """Return what fits the terminal."""
    if is_quiet:
        return NoProgress()
    return BarProgress() if sys.stderr.isatty() else PlainProgress()
