"""Ending an answer at a string, although it may come in pieces."""

from collections.abc import Sequence


class StopStrings:
    """Passes text on and holds back what may be the beginning of a stop string.

    >>> stops = StopStrings(["END"])
    >>> stops.push("a E"), stops.push("N"), stops.push("d EN"), stops.push("D!")
    ('a ', '', 'ENd ', '')
    >>> stops.has_ended
    True
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.has_ended = False

    def push(self, piece: str) -> str:
        """Take the next piece and return the text that is certain."""
        if not self._stops:
            return piece
        text = self._held + piece
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.has_ended, self._held = True, ""
            return text[: min(found)]
        keep = max(
            (
                length
                for stop in self._stops
                for length in range(1, min(len(stop), len(text) + 1))
                if text.endswith(stop[:length])
            ),
            default=0,
        )
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """Return what is still held back."""
        held, self._held = self._held, ""
        return held
