"""The stream: in which order the ids of a row stand, written from codes and read back into media.

    text          ids of its pieces
    picture       <|begin_of_image|> [<|grid_h|> <|grid_w|>] codes, row by row <|end_of_image|>
    recording     <|begin_of_audio|> units <|end_of_audio|>

A position of a residual codebook is `num_levels` ids in a row; where the vocabulary has ids for
runs of units, one id may be several units. `dvse.grammar` checks this order; here it is made and
undone. Knows nothing of files and of how a code was found.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from dvse.chunk import EncodedChunk
from dvse.encoding import (
    AudioSegment,
    Encoding,
    ImageSegment,
    Segment,
    Span,
    SpecialSegment,
    TextSegment,
)
from dvse.errors import IdRangeError
from dvse.grammar import Grammar
from dvse.numerics import NumericsProfile
from dvse.special_tokens import BRACKETS, grid_token
from dvse.text.tokenizer import TextTokenizer
from dvse.vocabulary import Vocabulary

if TYPE_CHECKING:
    from dvse.audio.tokenizer import AudioTokenizer
    from dvse.image.tokenizer import ImageTokenizer

_MODALITY_IDS = {"text": 0, "special": 0, "image": 1, "audio": 2}


class TokenStream:
    """Encoded chunks ↔ the ids of a row.

    Args:
        vocabulary, grammar: which id means what, and which may follow which.
        text: turns text ids back into text.
        image, audio: rebuild pixels, merge units; `None` where the bundle has none.
        profile: the pixel decoder computes under it.
    """

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        grammar: Grammar,
        text: TextTokenizer,
        image: "ImageTokenizer | None",
        audio: "AudioTokenizer | None",
        profile: NumericsProfile,
    ) -> None:
        self._vocabulary, self._grammar = vocabulary, grammar
        self._text, self._image, self._audio, self._profile = text, image, audio, profile

    def assemble(self, encoded: Sequence[EncodedChunk]) -> Encoding:
        """Put the encoded chunks of one row together into its ids."""
        runs: list[np.ndarray] = []
        modality_ids: list[np.ndarray] = []
        spans: list[Span] = []
        start = 0
        for _, group in groupby(encoded, key=lambda chunk: chunk.part):
            ids, span = self._item_ids(list(group), start)
            runs.append(ids)
            modality_ids.append(np.full(len(ids), _MODALITY_IDS[span.modality], dtype=np.int8))
            spans.append(span)
            start = span.stop
        media = {s.modality for s in spans} & {"image", "audio"}
        levels = self._vocabulary.num_levels(media.pop()) if len(media) == 1 else 1
        return Encoding(
            ids=np.concatenate(runs) if runs else np.zeros(0, np.int64),
            modality_ids=np.concatenate(modality_ids) if runs else np.zeros(0, np.int8),
            spans=tuple(spans),
            num_levels=levels,
        )

    def decode(self, ids: Any, *, render: bool = True) -> list[Segment]:
        """Return what a row of ids says: text, picture grids, recording units, special tokens.

        Args:
            ids: `[T]` list, array or tensor; `<|endoftext|>` at either end is padding and left
                out, between documents it is a special token.
            render: rebuild pixels and sound where the bundle has a way back.

        Raises:
            IdRangeError: an id that the vocabulary does not have.
            GrammarError: ids that form no stream, such as half a picture.
        """
        vocabulary = self._vocabulary
        array = _as_row(vocabulary, ids)
        filled = np.flatnonzero(array != vocabulary.pad_id)
        array = array[filled[0] : filled[-1] + 1] if filled.size else array[:0]
        self._grammar.check(array)
        kinds = vocabulary.kinds(array)
        opened = {vocabulary.special_id(begin): m for m, (begin, _) in BRACKETS.items()}
        segments: list[Segment] = []
        at = 0
        while at < len(array):
            if kinds[at] == 0:
                stop = at + _first(kinds[at:] != 0)
                segments.append(TextSegment(text=self._text.decode(array[at:stop])))
            elif modality := opened.get(int(array[at])):
                end = vocabulary.special_id(BRACKETS[modality][1])
                stop = at + _first(array[at:] == end) + 1
                segments.append(self._media_segment(modality, array[at + 1 : stop - 1], render))
            else:
                stop = at + 1
                segments.append(SpecialSegment(name=vocabulary.name_of(array[at])))
            at = stop
        return segments

    def _item_ids(self, chunks: list[EncodedChunk], start: int) -> tuple[np.ndarray, Span]:
        vocabulary = self._vocabulary
        modality = chunks[0].modality
        codes = np.concatenate([c.codes for c in chunks])
        if modality in ("text", "special"):
            stop = start + len(codes)
            return codes.astype(np.int64), Span(modality=modality, start=start, stop=stop)
        durations = frame_rate_hz = duration_s = None
        size: list[int] = []
        if modality == "audio":
            assert self._audio is not None
            codes, durations = self._audio.merge(codes)
            frame_rate_hz = self._audio.frame_rate_hz
            duration_s = sum(c.duration_s or 0.0 for c in chunks)
        elif self._grammar.fixed_grid is None:
            assert chunks[0].grid is not None
            size = [vocabulary.special_id(grid_token(side)) for side in chunks[0].grid]
        ids = vocabulary.place_ids(modality, codes)
        begin, end = (vocabulary.special_id(name) for name in BRACKETS[modality])
        ids = np.concatenate([[begin], size, ids, [end]]).astype(np.int64)
        span = Span(
            modality=modality,
            start=start,
            stop=start + len(ids),
            grid=chunks[0].grid,
            duration_s=duration_s,
            frame_rate_hz=frame_rate_hz,
            durations=durations,
        )
        return ids, span

    def _media_segment(self, modality: str, inner: np.ndarray, render: bool) -> Segment:
        grid = self._grammar.fixed_grid
        if modality == "image" and grid is None:
            grid = self._grammar.side_of(inner[0]), self._grammar.side_of(inner[1])
            inner = inner[2:]
        codes, _ = self._vocabulary.codes_of(modality, inner)
        codes = codes.reshape(-1, self._vocabulary.num_levels(modality)).astype(np.int32)
        if modality == "audio":
            return self._audio_segment(codes, render)
        assert grid is not None
        pixels = None
        if render and self._image is not None and self._image.decoder is not None:
            with self._profile.pinned():
                pixels = self._image.decode(codes, grid)
        return ImageSegment(codes=codes.reshape(*grid, -1), pixels=pixels)

    def _audio_segment(self, codes: np.ndarray, render: bool) -> AudioSegment:
        audio = self._audio
        assert audio is not None
        if not render or audio.decoder is None or not len(codes):
            return AudioSegment(units=codes, frame_rate_hz=audio.frame_rate_hz)
        with self._profile.pinned():
            samples = audio.decode(codes)
        return AudioSegment(
            units=codes,
            frame_rate_hz=audio.frame_rate_hz,
            samples=samples,
            sample_rate_hz=audio.sample_rate_hz,
        )


def _first(flags: np.ndarray) -> int:
    """Position of the first true flag, or the length."""
    return int(flags.argmax()) if flags.any() else len(flags)


def _as_row(vocabulary: Vocabulary, ids: Any) -> np.ndarray:
    is_tensor = hasattr(ids, "numpy")  # asked so, for torch need not be there
    row = vocabulary.check_ids(ids.numpy(force=True) if is_tensor else ids)
    if row.ndim != 1:
        raise IdRangeError(
            f"expected one row of ids [T], received shape {list(row.shape)}; decode row by row"
        )
    return row
