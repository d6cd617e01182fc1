"""The stages in which the shipped decoder learns: what it is shown, for how long, from where.

`python -m pipelines.tiny` goes through them in this order. Each writes conversations of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipelines.tiny.conversations.talk import SHARES
from pipelines.tiny.conversations.writing import Counts


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training.

    Attributes:
        name: of its folder.
        counts: its conversations.
        num_steps: of 4,096 ids.
        learning_rate: the highest; it rises over 100 steps and falls as a cosine.
        precision: of the forward pass.
        start: the stages whose weights, or the mean of them, it begins with; none for random ones.
        talk: how often each kind of talk without media is asked.
        seed: of conversations and their order.
    """

    name: str
    counts: Counts
    num_steps: int
    learning_rate: float
    precision: Literal["fp32", "bf16"]
    start: tuple[str, ...]
    seed: int
    talk: Mapping[str, float] = field(default_factory=lambda: SHARES)


_WITH_PROSE = {
    "who": 0.10,
    "can": 0.04,
    "hello": 0.04,
    "thanks": 0.04,
    "bye": 0.03,
    "how": 0.03,
    "nothing": 0.04,
    "no_media": 0.04,
    "sum": 0.24,
    "other": 0.20,
    "prose": 0.12,
    "border": 0.08,
}

_WITH_ANY_WORDS = {
    "who": 0.08,
    "can": 0.04,
    "hello": 0.04,
    "thanks": 0.03,
    "bye": 0.03,
    "how": 0.03,
    "nothing": 0.03,
    "no_media": 0.04,
    "sum": 0.16,
    "other": 0.18,
    "prose": 0.12,
    "words": 0.14,
    "border": 0.04,
    "number": 0.04,
}

_WITH_MORE_BORDERS = {
    "who": 0.07,
    "can": 0.03,
    "hello": 0.03,
    "thanks": 0.03,
    "bye": 0.02,
    "how": 0.02,
    "nothing": 0.02,
    "no_media": 0.03,
    "sum": 0.14,
    "other": 0.16,
    "prose": 0.13,
    "words": 0.18,
    "border": 0.10,
    "number": 0.04,
}

SHIPPED = ("steadies", "settles", "evens")
"""Stages whose models are averaged into the one that ships: each knows some things better."""

STAGES = (
    # The shipped one took this stage in seven parts, as its speech units and its encoder of
    # pictures were still changing; here it is one.
    Stage(
        name="names",
        counts=Counts(
            pictures=45_000,
            mosaics=11_000,
            digits=6_000,
            sequences=20_000,
            texts=2_500,
            drawings=0,
            odd_pictures=0,
            odd_recordings=0,
        ),
        num_steps=12_300,
        learning_rate=1.5e-3,
        precision="fp32",
        start=(),
        seed=0,
    ),
    Stage(
        name="refuses",
        counts=Counts(
            pictures=3_824,
            mosaics=992,
            digits=794,
            sequences=1_760,
            texts=3_869,
            drawings=330,
            odd_pictures=1_462,
            odd_recordings=969,
        ),
        num_steps=450,
        learning_rate=8e-4,
        precision="bf16",
        start=("names",),
        seed=5,
    ),
    Stage(
        name="talks",
        counts=Counts(
            pictures=1_370,
            mosaics=350,
            digits=280,
            sequences=630,
            texts=9_400,
            drawings=120,
            odd_pictures=520,
            odd_recordings=350,
        ),
        num_steps=150,
        learning_rate=6e-4,
        precision="bf16",
        start=("refuses",),
        seed=6,
        talk={
            "who": 0.10,
            "can": 0.06,
            "hello": 0.08,
            "thanks": 0.06,
            "bye": 0.05,
            "how": 0.05,
            "nothing": 0.06,
            "no_media": 0.08,
            "sum": 0.26,
            "other": 0.20,
        },
    ),
    # Refusing had cost half of the mosaics' gains and doubled the errors in rows of digits.
    Stage(
        name="rehearses",
        counts=Counts(
            pictures=3_800,
            mosaics=2_592,
            digits=1_994,
            sequences=3_260,
            texts=5_200,
            drawings=330,
            odd_pictures=1_762,
            odd_recordings=1_469,
        ),
        num_steps=740,
        learning_rate=6e-4,
        precision="bf16",
        start=("names", "talks"),
        seed=8,
        talk=_WITH_PROSE,
    ),
    # The shipped one came here with other codes of pictures and units of speech than those that it
    # had learnt with.
    Stage(
        name="again",
        counts=Counts(
            pictures=45_000,
            mosaics=9_000,
            digits=6_000,
            sequences=14_000,
            texts=14_000,
            drawings=1_200,
            odd_pictures=6_000,
            odd_recordings=4_500,
        ),
        num_steps=3_800,
        learning_rate=1.2e-3,
        precision="bf16",
        start=("rehearses",),
        seed=21,
        talk=_WITH_PROSE,
    ),
    # Four times as many codes of pictures, and units that know unknown voices better.
    Stage(
        name="more",
        counts=Counts(
            pictures=45_000,
            mosaics=12_000,
            digits=7_000,
            sequences=16_000,
            texts=9_000,
            drawings=900,
            odd_pictures=7_500,
            odd_recordings=4_500,
        ),
        num_steps=4_000,
        learning_rate=1.2e-3,
        precision="bf16",
        start=("again",),
        seed=33,
        talk=_WITH_PROSE,
    ),
    # The same codes from an encoder that has learnt what pictures show, see `ContextStem`.
    Stage(
        name="sees",
        counts=Counts(
            pictures=25_500,
            mosaics=8_500,
            digits=3_200,
            sequences=6_700,
            texts=5_000,
            drawings=700,
            odd_pictures=5_300,
            odd_recordings=2_100,
        ),
        num_steps=2_000,
        learning_rate=1e-3,
        precision="bf16",
        start=("more",),
        seed=41,
        talk=_WITH_PROSE,
    ),
    # More of what it had told worst: drawings, odd pictures, questions in words not read before.
    Stage(
        name="steadies",
        counts=Counts(
            pictures=13_000,
            mosaics=4_500,
            digits=2_600,
            sequences=6_400,
            texts=7_500,
            drawings=2_500,
            odd_pictures=5_000,
            odd_recordings=2_000,
        ),
        num_steps=1_430,
        learning_rate=7e-4,
        precision="fp32",
        start=("sees",),
        seed=52,
        talk=_WITH_ANY_WORDS,
    ),
    # It had come to refuse less of what is odd and to hear digits a little worse: half-way back,
    # and rows of digits and odd pictures once more.
    Stage(
        name="settles",
        counts=Counts(
            pictures=1_800,
            mosaics=800,
            digits=900,
            sequences=1_800,
            texts=700,
            drawings=200,
            odd_pictures=1_000,
            odd_recordings=300,
        ),
        num_steps=260,
        learning_rate=3e-4,
        precision="fp32",
        start=("sees", "steadies"),
        seed=61,
        talk=_WITH_ANY_WORDS,
    ),
    # More of what it refuses, in new words and voices: it came to refuse true pictures, too.
    Stage(
        name="polishes",
        counts=Counts(
            pictures=4_000,
            mosaics=1_500,
            digits=2_400,
            sequences=4_800,
            texts=3_800,
            drawings=700,
            odd_pictures=4_000,
            odd_recordings=2_000,
        ),
        num_steps=760,
        learning_rate=4e-4,
        precision="fp32",
        start=("steadies", "settles"),
        seed=71,
        talk=_WITH_MORE_BORDERS,
    ),
    # Three true pictures to an odd one again, from the mean of all three.
    Stage(
        name="evens",
        counts=Counts(
            pictures=4_600,
            mosaics=1_300,
            digits=900,
            sequences=2_500,
            texts=1_200,
            drawings=600,
            odd_pictures=1_500,
            odd_recordings=1_300,
        ),
        num_steps=440,
        learning_rate=3e-4,
        precision="fp32",
        start=("steadies", "settles", "polishes"),
        seed=83,
        talk=_WITH_ANY_WORDS,
    ),
)
