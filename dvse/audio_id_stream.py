"""Ids of a recording that is still being made: what `UnitStream` finds, in the order of a row.

    <|begin_of_audio|> units … <|end_of_audio|>

Where the vocabulary has ids for runs of units, units wait until it is sure which run they are in.
Put together, the pieces are the ids that the whole recording would have had.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from dvse.audio.decoding import opened
from dvse.audio.unit_stream import UnitStream
from dvse.errors import InputError
from dvse.items import Audio
from dvse.numerics import NumericsProfile
from dvse.special_tokens import BRACKETS
from dvse.vocabulary import Vocabulary

if TYPE_CHECKING:
    from dvse.audio.tokenizer import AudioTokenizer


class AudioIdStream:
    """One recording on its way; its state is its own, the tokenizer's parts are only asked.

    Args:
        audio: the audio tokenizer.
        vocabulary: which id a code has.
        profile: under which the encoder computes.
        sample_rate_hz: of the samples that come.

    >>> import dvse
    >>> tokenizer, sound = dvse.load("tiny"), np.zeros(24_000, np.float32)
    >>> stream = tokenizer.audio_stream(8_000)
    >>> pieces = [stream.push(part) for part in np.split(sound, 5)] + [stream.finish()]
    >>> whole = tokenizer.encode(dvse.Audio(sound, sample_rate_hz=8_000)).ids
    >>> bool((np.concatenate(pieces) == whole).all())
    True
    """

    def __init__(
        self,
        audio: "AudioTokenizer",
        vocabulary: Vocabulary,
        profile: NumericsProfile,
        sample_rate_hz: int,
    ) -> None:
        self._audio, self._vocabulary, self._profile = audio, vocabulary, profile
        self._rate_hz, self._max_s = sample_rate_hz, audio.preparer.max_duration_s
        self._units = UnitStream(audio, audio.preparer, sample_rate_hz)
        self._held = np.zeros((0, audio.num_levels), np.int32)  # the last unit, while it may grow
        self._waiting = self._held  # units that what follows may still make a run of
        self._is_begun = False

    @property
    def duration_s(self) -> float:
        """Seconds of sound that came."""
        return self._units.num_samples / self._rate_hz

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take samples `[n]` or `[n, channels]` and return the ids `int64 [m]` that are now final.

        Raises:
            InputError: samples that are no sound, or more of them than a recording may have.
        """
        found = []
        with opened(Audio(samples, self._rate_hz), max_duration_s=self._max_s) as recording:
            for block in recording.blocks:
                with self._profile.pinned():
                    found.append(self._units.push(_mono(block)))
        if self.duration_s > self._max_s:
            raise InputError(f"expected at most {self._max_s:g} s of sound")
        return self._ids(found, is_last=False)

    def finish(self) -> np.ndarray:
        """Learn that nothing follows and return the remaining ids, the end's own among them.

        Raises:
            TooShortError: less than one unit came.
        """
        with self._profile.pinned():
            found = [self._units.finish()]
        return self._ids(found, is_last=True)

    def _ids(self, found: list[np.ndarray], *, is_last: bool) -> np.ndarray:
        codes = self._merged(np.concatenate([self._held, *found]), is_last=is_last)
        if runs := self._vocabulary.runs:
            codes = np.concatenate([self._waiting, codes])
            num_final = len(codes) if is_last else runs.num_final(codes[:, 0])
            codes, self._waiting = codes[:num_final], codes[num_final:]
        ids = self._vocabulary.place_ids("audio", codes)
        begin, end = (self._vocabulary.special_id(name) for name in BRACKETS["audio"])
        first, self._is_begun = [] if self._is_begun else [begin], True
        return np.concatenate([first, ids, [end] if is_last else []]).astype(np.int64)

    def _merged(self, codes: np.ndarray, *, is_last: bool) -> np.ndarray:
        """Where repeats are merged, a run is final when another code follows."""
        if not self._audio.merge_repeats:
            return codes
        units = self._audio.merge(codes).codes
        if is_last or not len(units):
            return units
        self._held = units[-1:]
        return units[:-1]


def _mono(block: np.ndarray) -> np.ndarray:
    return block if block.ndim == 1 else block.mean(axis=1, dtype=np.float32)


def streamed_ids(stream: AudioIdStream, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield ids as they become final, those of each piece that brought some."""
    for piece in pieces:
        ids = stream.push(piece)
        if len(ids):
            yield ids
    yield stream.finish()
