"""Speech and text in turns: stretches of words that are spoken, and stretches that are written.

    the quick │ <|begin_of_audio|> units of "brown fox" <|end_of_audio|> │ jumps over …

The unit of a change is a word or a phrase, whose times come from an alignment. Which stretches are
spoken is drawn from the seed and the recording's name, so it depends on nothing else. Source:
Nguyen et al. 2024, "Spirit LM: Interleaved Spoken and Written Language Model", section 3.2.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dvse.encoding import Span
from dvse.special_tokens import BRACKETS
from dvse.text.tokenizer import TextTokenizer
from dvse.vocabulary import Vocabulary
from pipelines.composing.alignment import Timed, names_of
from pipelines.composing.parts import Part


@dataclass(frozen=True, kw_only=True)
class Interleaving:
    """How a recording is cut into turns.

    Attributes:
        file: name of the alignment, for messages.
        alignments: name of a recording → its words or phrases.
        least, most: words (or phrases) in a turn.
        seed: of the draws.
    """

    file: str
    alignments: Mapping[str, Sequence[Timed]]
    least: int
    most: int
    seed: int

    def timed(self, id: str) -> Sequence[Timed]:
        """Return the words of a recording, none where the alignment does not have it."""
        return next((self.alignments[n] for n in names_of(id) if n in self.alignments), ())

    def turns(self, id: str, count: int) -> Iterator[tuple[range, bool]]:
        """Yield ranges of words in order, and whether each is spoken; they take turns."""
        digest = hashlib.sha256(f"{self.seed}\0{id}".encode()).digest()
        rng = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
        is_spoken = bool(rng.integers(2))
        start = 0
        while start < count:
            stop = min(count, start + int(rng.integers(self.least, self.most + 1)))
            yield range(start, stop), is_spoken
            start, is_spoken = stop, not is_spoken

    def parts(
        self,
        row: Mapping[str, Any],
        timed: Sequence[Timed],
        vocabulary: Vocabulary,
        text: TextTokenizer,
    ) -> list[Part]:
        """Return the parts of a recording's row; what is too short to be a unit is written.

        Every frame before the first word, between words and after the last one goes with the
        spoken turn that it touches.
        """
        frames = _Frames(row, vocabulary)
        found: list[Part] = []
        for words, is_spoken in self.turns(row["id"], len(timed)):
            start_s = timed[words.start].start_s if words.start else 0.0
            is_last = words.stop == len(timed)
            stop_s = float("inf") if is_last else timed[words.stop].start_s
            spoken = frames.part(start_s, stop_s) if is_spoken else None
            if spoken is None:
                said = " ".join(timed[n].text for n in words)
                spoken = Part.of_text(text.encode((" " if found else "") + said).astype("int64"))
            found.append(spoken)
        return found


class _Frames:
    """The frames of a recording, of which stretches can be taken out again."""

    def __init__(self, row: Mapping[str, Any], vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._rate: float = row["frame_rate_hz"]
        self._is_merged = row["durations"] is not None
        codes, _ = vocabulary.codes_of("audio", row["ids"][1:-1])
        units = codes.reshape(-1, vocabulary.num_levels("audio"))
        lengths = row["durations"] if self._is_merged else np.ones(len(units), dtype=np.int64)
        self._frames = np.repeat(units, lengths, axis=0)
        begin, end = BRACKETS["audio"]
        self._brackets = vocabulary.special_id(begin), vocabulary.special_id(end)

    def part(self, start_s: float, stop_s: float) -> Part | None:
        """Return the frames of a stretch with its brackets; `None` where there is none."""
        stop = len(self._frames) if stop_s == float("inf") else round(stop_s * self._rate)
        frames = self._frames[round(start_s * self._rate) : stop]
        if not len(frames):
            return None
        units, durations = frames, None
        if self._is_merged:
            begins = np.flatnonzero(np.r_[True, (frames[1:] != frames[:-1]).any(axis=1)])
            units = frames[begins]
            durations = np.diff(np.r_[begins, len(frames)]).astype(np.int32)
        begin, end = self._brackets
        span = Span(
            modality="audio",
            start=0,
            stop=0,
            duration_s=len(frames) / self._rate,
            frame_rate_hz=self._rate,
            durations=durations,
        )
        ids = self._vocabulary.place_ids("audio", units)
        return Part(ids=np.concatenate([[begin], ids, [end]]), span=span)
