"""Pairs of answers, counted by hand."""

import dataclasses
import io
import json
import math
import sys

import datasets
import numpy as np
import PIL.Image
import pyarrow as pa
import pytest
import soundfile
from small_model import save_small_model

from pipelines.answering.caption import Caption
from pipelines.speech.clips import UNKNOWN_SPEAKER, VALIDATION_INDICES
from pipelines.speech.word_lists import DIGIT_WORDS
from pipelines.tiny import scoring
from pipelines.tiny.conversations.scene import Scene
from pipelines.tiny.quantized_scoring import Task, _pictures, _tiles, compare, main, pair, table
from pipelines.tiny.scoring import word_errors


class Told:
    """A captioner that has its answers from a list."""

    def __init__(self, **texts):
        self.texts, self.asked = texts, []

    def __call__(self, inputs, *, prompt, **_):
        self.asked.append(prompt)
        return [
            Caption(
                text=self.texts[name],
                reasoning=None,
                token_ids=(1,),
                num_prompt_ids=1,
                log_probability=-1.0,
                is_complete=True,
                seconds=0.0,
            )
            for name in inputs
        ]


def test_rows_of_unequal_length_by_hand():
    """Of 2 and 6 words 0 and 3 were wrong, then 1 and 3: one of eight more."""
    found = pair([2, 6], [0, 3], [1, 3])
    assert found["before"] == 3 / 8 and found["after"] == 4 / 8
    assert found["difference"] == 1 / 8
    # Residuals 1 - 2/8 and 0 - 6/8: 2 · (9/16 + 9/16) = 9/4, its root over eight words.
    assert found["standard_error"] == pytest.approx(1.5 / 8)
    assert math.isnan(pair([1], [0], [1])["standard_error"])
    assert pair([3, 3], [1, 1], [1, 1])["standard_error"] == 0


def test_every_model_is_asked_the_same():
    truths = ["one two", "three four five six"]
    task = Task(
        name="words",
        question="recording",
        inputs=["a", "b"],
        sizes=[2, 4],
        wrong=lambda i, text: word_errors(truths[i].split(), text.split()),
    )
    plain = Told(a="one two", b="three four five")
    rounded = Told(a="one one", b="three four four")
    lines = []
    figures = compare(
        [task],
        {"as it is": lambda: plain, "int4": lambda: rounded},
        progress=lines.append,
    )
    assert plain.asked == rounded.asked == ["What was said?"]
    assert lines == ["as it is: words, 2", "int4: words, 2"]
    found = figures["words"]
    assert found["inputs"] == 2 and set(found) == {"inputs", "int4"}
    assert found["int4"]["before"] == 1 / 6 and found["int4"]["after"] == 3 / 6
    assert found["int4"]["told_otherwise"] == 2
    assert table(figures).splitlines()[2] == (
        "| words | 2 | int4 | 16.67% | 50.00% | +33.33 ± 11.11 | 2 |"
    )


def test_a_picture_is_right_whole_and_a_mosaic_by_its_tiles():
    scenes = [Scene(rows=(("cat",),)), Scene(rows=(("cat", "truck"), ("ship", "frog")))]
    told = scenes[1].describe("en")
    pictures, tiles = _pictures([None, None], scenes), _tiles([None, None], scenes)
    assert pictures.sizes == [1, 1] and tiles.sizes == [1, 4]
    assert pictures.wrong(0, "a photo of a cat") == 0 and pictures.wrong(0, told) == 1
    assert pictures.wrong(1, told) == 0 and pictures.wrong(0, "no scene") == 1
    assert tiles.wrong(1, told) == 0 and tiles.wrong(1, "no scene") == 4
    assert tiles.wrong(1, told.replace("truck", "deer")) == 1


def small_data(folder):
    """Six pictures of two kinds, and a few digits of a known and of the unknown speaker."""
    draws = np.random.default_rng(0)
    pictures = [io.BytesIO() for _ in range(6)]
    for file in pictures:
        pixels = draws.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(file, "PNG")
    rows = [{"bytes": file.getvalue(), "path": None} for file in pictures]
    names = datasets.ClassLabel(names=["airplane", "automobile"])
    table = datasets.Dataset(pa.table({"image": rows, "label": [0, 1] * 3}))
    table.cast_column("label", names).to_parquet(folder / "cifar10-train.parquet")
    (folder / "fsdd").mkdir()
    lines = []
    for speaker in ("known", UNKNOWN_SPEAKER):
        for digit in range(3):
            name = f"{digit}_{speaker}_{min(VALIDATION_INDICES)}.wav"
            soundfile.write(folder / "fsdd" / name, draws.normal(0, 0.1, 4000), 8000)
            about = {"audio_filepath": name, "text": DIGIT_WORDS[digit], "speaker": speaker}
            lines.append(json.dumps(about) + "\n")
    (folder / "fsdd/manifest.jsonl").write_text("".join(lines))
    return folder


def test_the_command_on_a_few_rows(tmp_path, monkeypatch, capsys):
    shape = {"hidden_size": 32, "intermediate_size": 64}  # groups of 32 divide their rows
    model = save_small_model(tmp_path / "model", **shape)
    data, output = small_data(tmp_path), tmp_path / "figures.json"
    monkeypatch.setattr(scoring, "HELD_OUT", dataclasses.replace(scoring.HELD_OUT, rows="0:6"))
    words = ["quantized_scoring", str(model), "--data", str(data)]
    words += ["--output", str(output), "--count", "2", "--limit", "1"]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 0
    figures = json.loads(output.read_text())
    asked = {name: found["inputs"] for name, found in figures.items()}
    assert asked == {
        "pictures": 1,
        "tiles of mosaics": 1,
        "single digits, known speakers": 1,
        "words of joined digits, known speakers": 2,
        "single digits, unknown speakers": 1,
        "words of joined digits, unknown speakers": 2,
    }
    for found in figures.values():
        for bits in ("int8", "int4"):
            moved = found[bits]["after"] - found[bits]["before"]
            assert found[bits]["difference"] == pytest.approx(moved)
    out = capsys.readouterr().out
    assert out.count("| int8 |") == out.count("| int4 |") == len(figures)
