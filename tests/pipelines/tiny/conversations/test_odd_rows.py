"""Conversations about what is not known: messages that the chat format takes, with their files."""

import json

import numpy as np
import pytest
import soundfile
from PIL import Image

from dvse.chat import render
from pipelines.tiny.conversations.asides import REFUSALS
from pipelines.tiny.conversations.odd_pictures import OddPictures
from pipelines.tiny.conversations.odd_rows import (
    OddStock,
    drawing_rows,
    picture_rows,
    recording_rows,
    text_rows,
)
from pipelines.tiny.conversations.odd_texts import load_odd_texts
from pipelines.tiny.conversations.scene import LABELS, parse_scene


class Hiss:
    """Stands for `OddRecordings` where there is no espeak-ng."""

    def draw(self, rng):
        return rng.standard_normal(4000).astype(np.float32) / 10


@pytest.fixture
def stock(tmp_path):
    (tmp_path / "media").mkdir()
    return OddStock(
        pictures=OddPictures(drawings=("star", "plain")),
        recordings=Hiss(),
        texts=load_odd_texts(prose=tmp_path),
        num_parameters=5_300_000,
    )


def size(path):
    with Image.open(path) as picture:
        return picture.size


def answers(rows):
    return [row["content"] for row in rows if row["role"] == "assistant"]


def media(rows):
    return [
        part[part["type"]]
        for row in rows
        if isinstance(row["content"], list)
        for part in row["content"]
        if part["type"] != "text"
    ]


def test_drawings_are_named(stock, tmp_path):
    rows = list(drawing_rows(20, tmp_path, seed=0))
    for number, conversation in enumerate(row.messages for row in rows):
        (file,) = media(conversation)
        assert size(tmp_path / file) == (32, 32)
        scene = parse_scene(answers(conversation)[0])
        assert scene is not None and scene.labels == (LABELS[number % 10],)


def test_odd_pictures_and_recordings_are_refused(stock, tmp_path):
    for kind, rows in (
        ("picture", picture_rows(stock, 30, tmp_path, seed=0)),
        ("recording", recording_rows(stock, 10, tmp_path, seed=0)),
    ):
        for row in rows:
            assert list(row.shown.values()) == [[]]
            conversation = row.messages
            (file,) = media(conversation)
            assert answers(conversation)[0] in REFUSALS[kind].values()
            if kind == "picture":
                assert 18 <= min(size(tmp_path / file)) <= 100
            else:
                assert soundfile.info(tmp_path / file).samplerate == 8000


def test_texts_have_one_to_three_turns_and_no_media(stock):
    lengths = set()
    for row in text_rows(stock, 60, seed=0):
        conversation = row.messages
        assert not media(conversation)
        lengths.add(len(answers(conversation)))
        render(conversation)
        json.dumps(conversation)
    assert lengths == {1, 2, 3}


def test_the_same_seed_writes_the_same(stock, tmp_path):
    one, again, other = (list(text_rows(stock, 20, seed)) for seed in (0, 0, 1))
    assert one == again != other
