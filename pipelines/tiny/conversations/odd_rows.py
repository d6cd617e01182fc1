"""Conversations about what `tiny` does not know, and about nothing shown at all.

`pipelines.tiny.conversations.writing` writes them among those about pictures and digits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from pipelines.tiny.conversations.asides import drawing_turn, refusal_turn
from pipelines.tiny.conversations.drawn_kinds import drawn_kind
from pipelines.tiny.conversations.odd_pictures import OddPictures
from pipelines.tiny.conversations.odd_recordings import RATE_HZ, OddRecordings
from pipelines.tiny.conversations.odd_texts import OddTexts
from pipelines.tiny.conversations.scene import LABELS
from pipelines.tiny.conversations.talk import SHARES, talk_turns
from pipelines.tiny.conversations.turns import Conversation, Turn, messages

_SIDE = 32
_LONGEST_TURN = 300  # characters; a longer question stands alone


@dataclass(frozen=True, kw_only=True)
class OddStock:
    """What odd conversations are made of.

    Attributes:
        pictures, recordings, texts: the sources.
        num_parameters: of the model, for what it says of itself.
        talk: how often each kind of talk is asked.
    """

    pictures: OddPictures
    recordings: OddRecordings
    texts: OddTexts
    num_parameters: int
    talk: Mapping[str, float] = field(default_factory=lambda: SHARES)


def drawing_rows(count: int, output: Path, seed: int) -> Iterator[Conversation]:
    """Yield messages about drawings of the ten kinds, whose files go to `output / "media"`."""
    for i in range(count):
        rng = np.random.default_rng((seed, 3, i))
        label = LABELS[i % len(LABELS)]
        name = f"media/drawing-{i:06}.png"
        Image.fromarray(np.ascontiguousarray(drawn_kind(label, rng))).save(output / name)
        turn = drawing_turn(label, rng, is_thinking=rng.random() < 0.2)
        yield Conversation(messages=messages({"type": "image", "image": name}, [turn], rng))


def picture_rows(stock: OddStock, count: int, output: Path, seed: int) -> Iterator[Conversation]:
    """Yield messages about odd pictures of several sizes."""
    for i in range(count):
        rng = np.random.default_rng((seed, 4, i))
        side = int(rng.choice([_SIDE, 2 * _SIDE, int(rng.integers(24, 100))], p=[0.8, 0.1, 0.1]))
        pixels = stock.pictures.draw(rng, side=side)
        if rng.random() < 0.2:  # some are wide or high
            pixels = pixels[: side * 3 // 4] if rng.random() < 0.6 else pixels[:, : side * 3 // 4]
        name = f"media/odd-{i:06}.png"
        Image.fromarray(np.ascontiguousarray(pixels)).save(output / name)
        turn = refusal_turn("picture", rng, is_thinking=rng.random() < 0.25)
        media = {"type": "image", "image": name}
        yield Conversation(
            messages=messages(media, _more(turn, stock, rng), rng), shown={"tiles": []}
        )


def recording_rows(stock: OddStock, count: int, output: Path, seed: int) -> Iterator[Conversation]:
    """Yield messages about odd recordings."""
    for i in range(count):
        rng = np.random.default_rng((seed, 5, i))
        name = f"media/odd-{i:06}.flac"
        soundfile.write(output / name, stock.recordings.draw(rng), RATE_HZ, subtype="PCM_16")
        turn = refusal_turn("recording", rng, is_thinking=rng.random() < 0.25)
        media = {"type": "audio", "audio": name}
        yield Conversation(
            messages=messages(media, _more(turn, stock, rng), rng), shown={"digits": []}
        )


def text_rows(stock: OddStock, count: int, seed: int) -> Iterator[Conversation]:
    """Yield messages without media, of one to three turns."""
    for i in range(count):
        rng = np.random.default_rng((seed, 2, i))
        turns = [*islice(_talk(stock, rng), 1 + (rng.random() < 0.25) + (rng.random() < 0.1))]
        if sum(len(turn.question) for turn in turns) > _LONGEST_TURN:
            turns = turns[:1]
        yield Conversation(messages=messages(None, turns, rng))


def _more(turn: Turn, stock: OddStock, rng: np.random.Generator) -> list[Turn]:
    """Return the turn, sometimes with one that has nothing to do with it."""
    if rng.random() > 0.12:
        return [turn]
    other = next(_talk(stock, rng, most_chars=_LONGEST_TURN))
    return [turn, other] if other.answer and "no_media" not in other.reasoning else [turn]


def _talk(stock: OddStock, rng: np.random.Generator, *, most_chars: int = 1400) -> Iterator[Turn]:
    return talk_turns(
        stock.texts,
        rng,
        num_parameters=stock.num_parameters,
        most_chars=most_chars,
        shares=stock.talk,
    )
