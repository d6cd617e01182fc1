"""How well `tiny` does what it was made for, on pictures and recordings that no stage has seen.

    python -m pipelines.tiny.scoring MODEL --data FOLDER --output FILE.json

Everything goes through `Captioner`, files and prompts as a user would give them.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dvse.items import Audio
from pipelines.answering.caption import Caption
from pipelines.answering.captioner import Captioner
from pipelines.speech.clips import DigitSplit
from pipelines.tiny.conversations.arithmetic import heard, said
from pipelines.tiny.conversations.mosaic import SIDE, Mosaic, compose
from pipelines.tiny.conversations.recording import (
    RATE_HZ,
    Recording,
    Voices,
    load_voices,
    record,
)
from pipelines.tiny.conversations.scene import LANGUAGES, Language, Scene, parse_scene
from pipelines.tiny.conversations.writing import HELD_OUT
from pipelines.training.image.pictures import Pictures, load_pictures, parse_rows

_QUESTIONS: dict[str, dict[Language, str]] = {
    "picture": {"en": "What is this?", "zh": "这是什么?"},
    "count": {"en": "How many pictures?", "zh": "有几张图片?"},
    "recording": {"en": "What was said?", "zh": "说了什么?"},
    "sum": {"en": "Add the digits.", "zh": "把这些数字加起来。"},
    "largest": {"en": "Which digit is largest?", "zh": "哪个数字最大?"},
}


def tiles_right(expected: Scene, found: Scene | None) -> int:
    """Return how many tiles a caption names in their place.

    A row with one picture has its place by its row alone.

    >>> scene = Scene(rows=(("cat", "truck"), ("ship", None)))
    >>> tiles_right(scene, Scene(rows=(("truck", "truck"), ("ship",))))
    2
    """
    if found is None:
        return 0
    right = 0
    for row, told in zip(expected.rows, found.rows, strict=False):
        names = [label for label in row if label is not None]
        told_names = [label for label in told if label is not None]
        if len(names) == 1:
            right += told_names == names
        elif len(told) == len(row):
            right += sum(a == b for a, b in zip(row, told, strict=True) if a is not None)
    return right


def word_errors(expected: Sequence[str], found: Sequence[str]) -> int:
    """Return the edit distance in words (substitutions, insertions, deletions).

    >>> word_errors("three one four".split(), "three four five".split())
    2
    """
    row = list(range(len(found) + 1))
    for i, word in enumerate(expected, start=1):
        last, row[0] = row[0], i
        for j, other in enumerate(found, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]


def score(captioner: Captioner, data: Path, *, count: int = 1000, seed: int = 1) -> dict[str, Any]:
    """Return all figures.

    Args:
        data: the folder with `cifar10-train.parquet` and `fsdd/`.
        count: inputs a kind, but for pictures, of which all 5,000 are asked (all recordings of an
            unknown speaker are more than there are of known ones).
    """
    pictures = held_out_pictures(data)
    return {
        "pictures": _pictures(captioner, pictures),
        "mosaics": _mosaics(captioner, pictures, count, seed),
        **{
            split: _recordings(captioner, data, split, count, seed)
            for split in ("known", "unknown")
        },
        "how": "Pictures: rows 45,000-49,999; mosaics are made from these. known: indices 5-9 of "
        "the speakers trained on; unknown: the speaker never trained on. Sequences: two to six "
        "recordings joined with pauses of 0.08 to 0.6 s. Sums: right of those heard right, and "
        "end to end.",
    }


def held_out_pictures(data: Path) -> Pictures:
    """Return the pictures that no stage has seen."""
    return load_pictures(
        data / "cifar10-train.parquet",
        size=SIDE,
        rows=parse_rows(HELD_OUT.rows),
        image_column="image",
        label_column="label",
        num_threads=1,
    )


def mosaics_of(pictures: Pictures, count: int, seed: int) -> list[Mosaic]:
    """Return half as many mosaics, of two, three and four pictures in turn."""
    assert pictures.labels is not None
    labels = [pictures.label_names[label] for label in pictures.labels]
    found = []
    for i in range(count // 2):
        rng = np.random.default_rng((seed, i))
        chosen = rng.integers(0, len(labels), 2 + i % 3)
        found.append(
            compose([pictures.pixels[row] for row in chosen], [labels[row] for row in chosen], rng)
        )
    return found


def rows_of_digits(voices: Voices, count: int, seed: int) -> list[Recording]:
    """Return recordings of two to six digits, joined with pauses."""
    return [
        record(voices, 2 + i % 5, np.random.default_rng((seed, i)), augment=False)
        for i in range(count)
    ]


def _pictures(captioner: Captioner, pictures: Pictures) -> dict[str, Any]:
    assert pictures.labels is not None
    labels = [pictures.label_names[label] for label in pictures.labels]
    found: dict[str, Any] = {"inputs": len(labels)}
    for language in LANGUAGES:
        told = ask(captioner, list(pictures.pixels), "picture", language)
        right = [
            parse_scene(t.text) == Scene(rows=((label,),))
            for t, label in zip(told, labels, strict=True)
        ]
        found[f"accuracy_{language}"] = round(float(np.mean(right)), 4)
    return found


def _mosaics(captioner: Captioner, pictures: Pictures, count: int, seed: int) -> dict[str, Any]:
    mosaics = mosaics_of(pictures, count, seed)
    inputs, scenes = [m.pixels for m in mosaics], [m.scene for m in mosaics]
    found: dict[str, Any] = {"inputs": len(inputs)}
    for language in LANGUAGES:
        told = ask(captioner, inputs, "picture", language)
        for size in (2, 3, 4):
            pairs = [(s, t) for s, t in zip(scenes, told, strict=True) if len(s.labels) == size]
            right = sum(tiles_right(scene, parse_scene(t.text)) for scene, t in pairs)
            found[f"tiles_of_{size}_{language}"] = round(right / (size * len(pairs)), 4)
        found[f"tiles_{language}"] = round(
            sum(tiles_right(s, parse_scene(t.text)) for s, t in zip(scenes, told, strict=True))
            / sum(len(s.labels) for s in scenes),
            4,
        )
    told = ask(captioner, inputs, "count", "en")
    counted = [t.text == str(len(s.labels)) for t, s in zip(told, scenes, strict=True)]
    found["count_accuracy"] = round(float(np.mean(counted)), 4)
    return found


def _recordings(
    captioner: Captioner, data: Path, split: DigitSplit, count: int, seed: int
) -> dict[str, Any]:
    voices = load_voices(data / "fsdd", split, num_synthetic=0, seed=seed)
    singles = [clip for clips in voices.recorded.values() for clip in clips][:count]
    told = ask(captioner, [audio(clip.samples) for clip in singles], "recording", "en")
    right = [t.text == said(clip.digits, "en") for t, clip in zip(told, singles, strict=True)]
    recorded = rows_of_digits(voices, min(count, 500), seed)
    inputs = [audio(recording.samples) for recording in recorded]
    truth = [recording.digits for recording in recorded]
    found: dict[str, Any] = {
        "digits": len(singles),
        "digit_accuracy": round(float(np.mean(right)), 4),
        "sequences": len(inputs),
    }
    transcripts = {}
    for language in LANGUAGES:
        told = ask(captioner, inputs, "recording", language)
        pairs = zip(truth, told, strict=True)
        words = [(said(digits, language).split(), t.text.split()) for digits, t in pairs]
        wrong = sum(word_errors(*pair) for pair in words)
        found[f"word_error_{language}"] = round(wrong / sum(len(e) for e, _ in words), 4)
        transcripts[language] = [e == f for e, f in words]
    for language in LANGUAGES:
        thought = ask(captioner, inputs, "sum", language, thinking=True)
        plain = ask(captioner, inputs, "sum", language)
        sums = [str(sum(digits)) for digits in truth]
        is_heard = [heard(t.reasoning or "") == d for t, d in zip(thought, truth, strict=True)]
        is_right = [t.text == s for t, s in zip(thought, sums, strict=True)]
        of_heard = [r for r, h in zip(is_right, is_heard, strict=True) if h]
        found[f"sum_thinking_of_heard_{language}"] = round(float(np.mean(of_heard or [False])), 4)
        found[f"sum_thinking_{language}"] = round(float(np.mean(is_right)), 4)
        is_plain_right = [t.text == s for t, s in zip(plain, sums, strict=True)]
        plain_heard = [r for r, h in zip(is_plain_right, transcripts[language], strict=True) if h]
        found[f"sum_plain_of_heard_{language}"] = round(float(np.mean(plain_heard or [False])), 4)
        found[f"sum_plain_{language}"] = round(float(np.mean(is_plain_right)), 4)
    told = ask(captioner, inputs, "largest", "en")
    largest = [t.text == str(max(d)) for t, d in zip(told, truth, strict=True)]
    found["largest_plain"] = round(float(np.mean(largest)), 4)
    return found


def audio(samples: np.ndarray) -> Audio:
    """Return samples `float32 [n]` as what `Captioner` takes."""
    return Audio(samples, sample_rate_hz=RATE_HZ)


def ask(
    captioner: Captioner,
    inputs: list[Any],
    question: str,
    language: Language,
    *,
    thinking: bool = False,
) -> list[Caption]:
    """Return the answers to one of the questions: picture, count, recording, sum, largest."""
    told: Any = captioner(
        inputs,
        prompt=_QUESTIONS[question][language],
        thinking=thinking,
        details=True,
        on_error="raise",
        max_new_tokens=120,
    )
    return list(told)


def main() -> int:
    """Score and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000, help="inputs a kind")
    args = parser.parse_args()
    figures = score(Captioner.load(args.model), args.data, count=args.count)
    args.output.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
