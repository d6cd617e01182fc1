"""What each part of a picture or recording shows, as a second thing to learn in training.

An answer gives a handful of words to learn from; the codes before it are hundreds. Here every code
says, too, what it belongs to (its *topic*: the class of its tile, the digit that is said) and where
(its *place*: the quarter of the canvas, the number of the digit): two small heads on the states
before the last layer, which are thrown away after training. Without them a decoder of this size
learns what stands first and guesses the rest; deep supervision of states by what they should know
is old: Lee et al. 2015, "Deeply-Supervised Nets".

The decoder is causal, so nothing is asked before it can be known: no class in the first rows of a
tile, no digit before its middle. The words of an answer learn the place of what they are about to
name, in the same terms as the codes, so that the last layer can look it up. A guide travels inside
an id, as `id + vocabulary size · (1 + guide)`: shards, packing and the loop know nothing of it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dvse.storage.shard import find_shards, read_metadata, read_shard, shard_schema, write_shard
from dvse.tokenizer import Tokenizer
from model import DvseConfig, DvseForCausalLM
from pipelines.speech.word_lists import DIGIT_WORDS
from pipelines.tiny.conversations.arithmetic import said
from pipelines.tiny.conversations.mosaic import SIDE
from pipelines.tiny.conversations.scene import LABELS, LANGUAGES, name_of

NOTHING = len(LABELS)
FIRST_DIGIT = NOTHING + 1
NUM_TOPICS = FIRST_DIGIT + len(DIGIT_WORDS)
UNTOLD = NUM_TOPICS
"""Topic of a code at which it cannot be known yet."""

FIRST_NUMBER = 4
NUM_PLACES = FIRST_NUMBER + 6
UNPLACED = NUM_PLACES

_WHOLE = NUM_PLACES + 1
_TOLD_FROM = 3 / 8  # of a tile's height
_LOSS_SHARE = 0.5


def picture_guides(
    grid: tuple[int, int], tiles: Sequence[tuple[int, int, str]], patch_size: int
) -> np.ndarray:
    """Return the guide `int64 [rows * columns]` of each code of a picture, in reading order.

    Args:
        grid: rows and columns of codes.
        tiles: top and left in pixels, and class, of each.
        patch_size: pixels a code, on a side.

    >>> guides = picture_guides((8, 16), [(0, 0, "cat"), (0, 32, "truck")], 4).reshape(8, 16)
    >>> [divmod(int(guide), 11) for guide in guides[7, [0, 8]]]
    [(3, 0), (9, 1)]
    """
    rows, columns = np.indices(grid) * patch_size
    quarter = 2 * (rows >= SIDE) + (columns >= SIDE)
    topic = np.full(grid, NOTHING)
    for top, left, name in tiles:
        inside = (rows >= top) & (rows < top + SIDE) & (columns >= left) & (columns < left + SIDE)
        topic[inside] = LABELS.index(name)
        topic[inside & (rows < top + _TOLD_FROM * SIDE)] = UNTOLD
    return (topic * _WHOLE + quarter).reshape(-1)


def recording_guides(
    num_units: int, duration_s: float, digits: Sequence[tuple[float, float, int]]
) -> np.ndarray:
    """Return the guide `int64 [num_units]` of each unit: the digit said last, and its number.

    Args:
        duration_s: of the recording.
        digits: start and end in seconds, and the digit; at most six.

    >>> guides = recording_guides(4, 4.0, [(0.0, 2.0, 7), (2.0, 4.0, 1)])
    >>> [divmod(int(guide), 11) for guide in guides]
    [(21, 10), (18, 4), (18, 4), (12, 5)]
    """
    middles = np.array([(start + end) / 2 for start, end, _ in digits])
    times = (np.arange(num_units) + 0.5) * duration_s / num_units
    number = np.searchsorted(middles, times) - 1
    topics = np.array([FIRST_DIGIT + digit for _, _, digit in digits])
    is_told = number >= 0
    topic = np.where(is_told, topics[number], UNTOLD)
    return topic * _WHOLE + np.where(is_told, FIRST_NUMBER + number, UNPLACED)


def nothing_guides(num_codes: int) -> np.ndarray:
    """Return the guide `int64 [num_codes]` of each code of what shows nothing that is known.

    >>> [divmod(int(guide), 11) for guide in nothing_guides(4)]
    [(21, 10), (21, 10), (10, 10), (10, 10)]
    """
    topic = np.where(np.arange(num_codes) < _TOLD_FROM * num_codes, UNTOLD, NOTHING)
    return topic * _WHOLE + UNPLACED


def answer_places(texts: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """Return which of `names` each token of an answer is about to name, `None` if not all come.

    Args:
        texts: the answer up to and with each token.
        names: what is named, in this order.

    >>> answer_places(["a", "a cat", "a cat,", "a cat, a", "a cat, a tru", "a cat, a truck", "."],
    ...               ["cat", "truck"])
    [0, 0, 1, 1, 1, 1]
    """
    found: list[int] = []
    begin = 0
    for number, name in enumerate(names):
        while len(found) < len(texts):
            at = texts[len(found)].find(name, begin)
            found.append(number)
            if at >= 0:
                begin = at + len(name)
                break
        else:
            return None
    return found


def write_guided(shards: Path, shown: Path, output: Path, tokenizer: Tokenizer) -> None:
    """Write the shards again with guides in their ids; those that are there stay.

    Args:
        shards: made of `conversations.jsonl`.
        shown: the `shown.jsonl` beside that.
        output: a folder for the shards.
        tokenizer: that the shards were made with; it has to read pictures and recordings.
    """
    lines = [json.loads(line) for line in shown.read_text(encoding="utf-8").splitlines()]
    output.mkdir(parents=True, exist_ok=True)
    guide = _Guide(tokenizer)
    for path in find_shards(shards):
        if (output / path.name).is_file():
            continue
        rows = read_shard(path).to_pylist()
        for row in rows:
            # A row is named after its line in the JSONL, from 1.
            line = lines[int(row["id"].rpartition(":")[2]) - 1]
            if line is not None:
                row["ids"] = guide(np.asarray(row["ids"], np.int64), row["loss_mask"], line)
        write_shard(
            output / path.name,
            rows,
            schema=shard_schema("uint32"),
            metadata=read_metadata(path).to_schema_metadata(),
        )


class _Guide:
    """Puts guides into the ids of a row."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        assert tokenizer.image is not None
        self._patch_size = tokenizer.image.encoder.patch_size
        self._decode = tokenizer.text.decode
        vocabulary = tokenizer.vocabulary
        self._size, self._text_size = vocabulary.size, vocabulary.text_size
        self._codes = {
            name: vocabulary.code_ids(name, np.arange(vocabulary.num_codes(name)))
            for name in ("image", "audio")
        }

    def __call__(
        self, ids: np.ndarray, loss_mask: Sequence[bool], shown: dict[str, Any]
    ) -> np.ndarray:
        guides = np.full(len(ids), -1)
        here = np.isin(ids, self._codes["image" if "tiles" in shown else "audio"])
        if not (shown.get("tiles") or shown.get("digits")):
            guides[here] = nothing_guides(int(here.sum()))
            return self._joined(ids, guides)
        if "tiles" in shown:
            grid = (shown["size"][0] // self._patch_size, shown["size"][1] // self._patch_size)
            guides[here] = picture_guides(grid, shown["tiles"], self._patch_size)
            places = [2 * (top >= SIDE) + (left >= SIDE) for top, left, _ in shown["tiles"]]
            labels = [label for _, _, label in shown["tiles"]]
            names = [labels, [name_of(label, "zh") for label in labels]]
        else:
            guides[here] = recording_guides(int(here.sum()), shown["duration_s"], shown["digits"])
            digits = [digit for _, _, digit in shown["digits"]]
            places = [FIRST_NUMBER + number for number in range(len(digits))]
            names = [[said([digit], language) for digit in digits] for language in LANGUAGES]
        for start, stop in _runs(np.asarray(loss_mask) & (ids < self._text_size)):
            texts = [self._decode(ids[start:end].tolist()) for end in range(start + 1, stop + 1)]
            found = (answer_places(texts, one) for one in names)
            for i, number in enumerate(next(filter(None, found), [])):
                guides[start + i - 1] = UNTOLD * _WHOLE + places[number]
        return self._joined(ids, guides)

    def _joined(self, ids: np.ndarray, guides: np.ndarray) -> np.ndarray:
        return (ids + self._size * (1 + guides)).astype(np.uint32)


def _runs(is_there: np.ndarray) -> np.ndarray:
    """Return start and stop of each run of true, `int64 [n, 2]`."""
    edges = np.diff(np.concatenate([[0], is_there.astype(np.int8), [0]]))
    return np.flatnonzero(edges).reshape(-1, 2)


class GuidedDecoder(DvseForCausalLM):
    """A decoder that learns its guides, too, in training."""

    def __init__(self, config: DvseConfig) -> None:
        super().__init__(config)
        self.guide_head = nn.Linear(config.hidden_size, NUM_TOPICS + NUM_PLACES)

    def forward(self, input_ids: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        """Take the guides out of the ids; add their loss where there are any."""
        if input_ids is None:
            return super().forward(labels=labels, **kwargs)
        size = self.config.vocab_size
        if not self.training:  # sample answers
            return super().forward(input_ids=input_ids % size, labels=labels, **kwargs)
        guides = input_ids // size - 1
        if labels is not None:
            labels = torch.where(labels >= 0, labels % size, labels)
        output = super().forward(
            input_ids=input_ids % size, labels=labels, output_hidden_states=True, **kwargs
        )
        here = guides >= 0
        if output.loss is not None and here.any():
            output.loss = output.loss + _LOSS_SHARE * self._guide_loss(
                output.hidden_states[-2][here], guides[here]
            )
        output.hidden_states = None
        return output

    def _guide_loss(self, states: torch.Tensor, guides: torch.Tensor) -> torch.Tensor:
        topics, places = guides // _WHOLE, guides % _WHOLE
        scores = self.guide_head(self.model.norm(states)).float()
        by_topic, by_place = scores.split([NUM_TOPICS, NUM_PLACES], dim=1)
        loss = scores.sum() * 0.0
        if (told := topics != UNTOLD).any():
            loss = loss + F.cross_entropy(by_topic[told], topics[told])
        if (placed := places != UNPLACED).any():
            loss = loss + F.cross_entropy(by_place[placed], places[placed])
        return loss

    def plain(self) -> DvseForCausalLM:
        """Return the decoder alone."""
        decoder = DvseForCausalLM(self.config)
        decoder.load_state_dict(self.state_dict(), strict=False)
        decoder.tie_weights()
        return decoder
