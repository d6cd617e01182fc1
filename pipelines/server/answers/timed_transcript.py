"""A transcript with times: its words, and lines of them as subtitles show them.

Where nothing was said (the model's own refusal), and where there are more words than units, there
is one line over the whole recording, without words.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from dvse.audio.decoding import opened
from dvse.encoding import Encoding, Span
from dvse.items import Audio
from dvse.vocabulary import Vocabulary
from pipelines.server.answers.generation import WholeAnswer
from pipelines.server.answers.spoken_words import SpokenWord, spoken_words
from pipelines.server.answers.subtitles import TimedText
from pipelines.server.answers.word_times import frame_levels_db, word_frames
from pipelines.server.serving import Serving

# What a reader takes in at a glance: two lines of 42 characters, seven seconds at most (the Timed
# Text Style Guide that most broadcasters share); a pause is a reason for a new one.
_LONGEST, _LONGEST_S, _PAUSE_S = 84, 7.0, 1.0


@dataclass(frozen=True, kw_only=True)
class TimedTranscript:
    """What was said, and when.

    Attributes:
        words: each with its seconds.
        lines: each with its seconds; all text stands in one of them.
        tokens: numbers of the answer's tokens of each line.
    """

    words: list[TimedText] = field(default_factory=list)
    lines: list[TimedText] = field(default_factory=list)
    tokens: list[range] = field(default_factory=list)

    @classmethod
    async def of(
        cls, answer: WholeAnswer, prompt: Encoding, data: bytes, serving: Serving
    ) -> "TimedTranscript":
        """Time an answer.

        Args:
            answer: the transcript.
            prompt: a row with one recording.
            data: the recording's file.

        Raises:
            BatcherError: the batcher takes no more.
        """
        content = answer.content
        ids = [token.id for token in answer.tokens]
        units = _Units.of(prompt, serving.model.tokenizer.vocabulary)
        is_refusal = content.strip() in serving.model.introduction.refusals
        words = [] if is_refusal else spoken_words(ids, serving.model.tokenizer.text)
        if not words or len(words) > units.num_frames:
            if not content.strip():
                return cls()
            whole = TimedText(start=0.0, end=units.second(units.num_frames), text=content.strip())
            return cls(lines=[whole], tokens=[range(len(ids))])
        row = [*prompt.ids.tolist(), *ids[:-1]]
        seen = serving.model.batcher.attention(row, len(prompt) - 1, units.positions)
        levels, weights = await asyncio.gather(
            serving.encoder.run(lambda: units.levels_db(data, serving.settings.max_audio_s)),
            asyncio.wrap_future(seen),
        )
        looks = units.frames(weights.numpy())
        attention = np.stack([looks[list(word.tokens)].mean(0) for word in words])
        timed = [
            TimedText(start=units.second(start), end=units.second(stop), text=word.text)
            for word, (start, stop) in zip(words, word_frames(attention, levels), strict=True)
        ]
        return cls._of_words(content, words, timed, len(ids))

    @classmethod
    def _of_words(
        cls, content: str, words: Sequence[SpokenWord], timed: list[TimedText], num_tokens: int
    ) -> "TimedTranscript":
        lines, tokens = [], []
        starts = [*_line_starts(content, words, timed), len(words)]
        for first, stop in pairwise(starts):
            begin = words[first].start if first else 0
            end = words[stop].start if stop < len(words) else len(content)
            text = content[begin:end].strip()
            lines.append(TimedText(start=timed[first].start, end=timed[stop - 1].end, text=text))
            last = words[stop].tokens[0] if stop < len(words) else num_tokens
            tokens.append(range(words[first].tokens[0] if first else 0, last))
        return cls(words=timed, lines=lines, tokens=tokens)


def _line_starts(
    content: str, words: Sequence[SpokenWord], timed: Sequence[TimedText]
) -> Iterator[int]:
    """Yield the number of each line's first word."""
    first = 0
    for number, word in enumerate(timed):
        end = words[number + 1].start if number + 1 < len(words) else len(content)
        is_pause = number and word.start - timed[number - 1].end >= _PAUSE_S
        is_long = end - words[first].start > _LONGEST or word.end - timed[first].start > _LONGEST_S
        if number and (is_pause or is_long):
            first = number
        if number == first:
            yield number


@dataclass(frozen=True, kw_only=True)
class _Units:
    """The units of a recording in a row, or runs of them, and the frames that they stand for."""

    span: Span
    num_levels: int
    durations: np.ndarray

    @classmethod
    def of(cls, prompt: Encoding, vocabulary: Vocabulary) -> "_Units":
        num_levels = vocabulary.num_levels("audio")
        span = next(span for span in prompt.spans if span.modality == "audio")
        places = prompt.ids[span.start + 1 : span.stop - 1 : num_levels]
        units = np.ones(len(places), int)
        if vocabulary.runs:
            units = np.array([len(vocabulary.codes_of("audio", [id])[0]) for id in places])
        durations = units
        if span.durations is not None:
            durations = np.add.reduceat(span.durations, np.cumsum(units) - units)
        return cls(span=span, num_levels=num_levels, durations=durations)

    @property
    def num_frames(self) -> int:
        return int(self.durations.sum())

    @property
    def positions(self) -> tuple[int, int]:
        """Where they stand, without the tokens that begin and end a recording."""
        return self.span.start + 1, self.span.stop - 1

    def second(self, frame: int) -> float:
        """When a frame begins, at most the recording's end."""
        seconds = frame / (self.span.frame_rate_hz or 1.0)
        return min(seconds, self.span.duration_s or seconds)

    def frames(self, attention: np.ndarray) -> np.ndarray:
        """Map `[n, positions]` to `[n, frames]`: a merged unit's share is its frames' together."""
        units = attention.reshape(len(attention), -1, self.num_levels).sum(2)
        return np.repeat(units / self.durations, self.durations, axis=1)

    def levels_db(self, data: bytes, max_duration_s: float) -> np.ndarray:
        """How loud each frame is."""
        with opened(Audio(data), max_duration_s=max_duration_s) as recording:
            samples_per_frame = recording.sample_rate_hz / (self.span.frame_rate_hz or 1.0)
            return frame_levels_db(recording.blocks, self.num_frames, samples_per_frame)
