"""What 8 and 4 bits cost `tiny`, on the same inputs as without: pictures, tiles, digits, words.

    python -m pipelines.tiny.quantized_scoring MODEL --data FOLDER --output FILE.json

A difference of two figures that were taken apart is mostly chance; here each input is asked of the
model as it is and of each rounded one, and the difference has the standard error of such pairs.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pipelines.answering.captioner import Captioner
from pipelines.answering.weight_format import Quantization
from pipelines.speech.clips import DigitSplit
from pipelines.tiny.conversations.arithmetic import said
from pipelines.tiny.conversations.recording import load_voices
from pipelines.tiny.conversations.scene import Scene, parse_scene
from pipelines.tiny.scoring import (
    ask,
    audio,
    held_out_pictures,
    mosaics_of,
    rows_of_digits,
    tiles_right,
    word_errors,
)

AS_IT_IS = "as it is"
_SPLITS: tuple[DigitSplit, ...] = ("known", "unknown")


@dataclass(frozen=True, kw_only=True)
class Task:
    """Inputs of one kind, and how wrong an answer to each is.

    Attributes:
        name: of the figure.
        question: as `scoring.ask` knows them.
        inputs: what `Captioner` takes.
        sizes: what can be wrong in the answer to each: 1, or the tiles or words of it.
        wrong: of input i and an answer, how much of it is wrong.
    """

    name: str
    question: str
    inputs: list[Any]
    sizes: list[int]
    wrong: Callable[[int, str], int]


def pair(sizes: Sequence[int], before: Sequence[int], after: Sequence[int]) -> dict[str, float]:
    """Return the rates of errors before and after, and their difference with its standard error.

    Args:
        sizes: what can be wrong in each input.
        before, after: what is wrong in it.

    The error is that of a ratio of two sums over inputs (Cochran, "Sampling Techniques", 1977,
    chapter 6): of what moved, over what could be wrong.

    >>> pair([2, 2, 2, 2], [1, 0, 2, 0], [1, 1, 2, 0])
    {'before': 0.375, 'after': 0.5, 'difference': 0.125, 'standard_error': 0.125}
    """
    total, count = sum(sizes), len(sizes)
    moved = [b - a for a, b in zip(before, after, strict=True)]
    ratio = sum(moved) / total
    spread = sum((d - ratio * n) ** 2 for d, n in zip(moved, sizes, strict=True))
    error = math.sqrt(spread * count / (count - 1)) / total if count > 1 else math.nan
    return {
        "before": sum(before) / total,
        "after": sum(after) / total,
        "difference": ratio,
        "standard_error": error,
    }


def tasks(data: Path, count: int, seed: int, limit: int | None = None) -> list[Task]:
    """Return everything that is asked.

    Args:
        data: the folder with `cifar10-train.parquet` and `fsdd/`.
        count: rows of joined digits of known and of unknown speakers, and twice the mosaics.
        seed: of mosaics and rows.
        limit: pictures and single digits of a split; by default all that were held out.
    """
    pictures = held_out_pictures(data)
    assert pictures.labels is not None
    labels = [pictures.label_names[label] for label in pictures.labels[:limit]]
    mosaics = mosaics_of(pictures, count, seed)
    found = [
        _pictures(list(pictures.pixels[:limit]), [Scene(rows=((name,),)) for name in labels]),
        _tiles([m.pixels for m in mosaics], [m.scene for m in mosaics]),
    ]
    for split in _SPLITS:
        found += _digits(data, split, count, seed, limit)
    return found


def compare(
    all_tasks: Sequence[Task],
    captioners: Mapping[str, Callable[[], Captioner]],
    *,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Ask all models everything, one after the other, and pair the rounded ones with the first.

    Args:
        all_tasks: see `tasks`.
        captioners: what loads each, by its name; the first is the one that is compared with.
        progress: told what is being asked.
    """
    told: dict[str, list[list[str]]] = {}
    for name, load in captioners.items():
        captioner = load()
        told[name] = []
        for task in all_tasks:
            progress(f"{name}: {task.name}, {len(task.inputs)}")
            answers = ask(captioner, task.inputs, task.question, "en")
            told[name].append([answer.text for answer in answers])
    first, *others = captioners
    figures: dict[str, Any] = {}
    for number, task in enumerate(all_tasks):
        before = told[first][number]
        wrong = [task.wrong(i, text) for i, text in enumerate(before)]
        found: dict[str, Any] = {"inputs": len(task.inputs)}
        figures[task.name] = found
        for name in others:
            after = told[name][number]
            paired = pair(task.sizes, wrong, [task.wrong(i, text) for i, text in enumerate(after)])
            otherwise = sum(a != b for a, b in zip(before, after, strict=True))
            found[name] = {**paired, "told_otherwise": otherwise}
    return figures


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as Markdown: errors in percent, differences in points."""
    rows = ["| wrong | inputs | bits | before | after | difference | told otherwise |"]
    rows.append("|---|---|---|---|---|---|---|")
    for task, found in figures.items():
        for name, one in found.items():
            if name == "inputs":
                continue
            moved = f"{100 * one['difference']:+.2f} ± {100 * one['standard_error']:.2f}"
            rows.append(
                f"| {task} | {found['inputs']} | {name} | {one['before']:.2%} | "
                f"{one['after']:.2%} | {moved} | {one['told_otherwise']} |"
            )
    return "\n".join(rows)


def _pictures(inputs: list[Any], scenes: Sequence[Scene]) -> Task:
    return Task(
        name="pictures",
        question="picture",
        inputs=inputs,
        sizes=[1] * len(inputs),
        wrong=lambda i, text: int(parse_scene(text) != scenes[i]),
    )


def _tiles(inputs: list[Any], scenes: Sequence[Scene]) -> Task:
    sizes = [len(scene.labels) for scene in scenes]
    return Task(
        name="tiles of mosaics",
        question="picture",
        inputs=inputs,
        sizes=sizes,
        wrong=lambda i, text: sizes[i] - tiles_right(scenes[i], parse_scene(text)),
    )


def _digits(data: Path, split: DigitSplit, count: int, seed: int, limit: int | None) -> list[Task]:
    voices = load_voices(data / "fsdd", split, num_synthetic=0, seed=seed)
    singles = [clip for clips in voices.recorded.values() for clip in clips][:limit]
    rows = rows_of_digits(voices, count, seed)
    truths = [said(row.digits, "en").split() for row in rows]
    return [
        Task(
            name=f"single digits, {split} speakers",
            question="recording",
            inputs=[audio(clip.samples) for clip in singles],
            sizes=[1] * len(singles),
            wrong=lambda i, text: int(text != said(singles[i].digits, "en")),
        ),
        Task(
            name=f"words of joined digits, {split} speakers",
            question="recording",
            inputs=[audio(row.samples) for row in rows],
            sizes=[len(truth) for truth in truths],
            wrong=lambda i, text: word_errors(truths[i], text.split()),
        ),
    ]


def main() -> int:
    """Compare, write the figures, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000, help="rows of joined digits a split")
    parser.add_argument("--limit", type=int, help="pictures and single digits (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    def loader(quantize: Quantization | None) -> Callable[[], Captioner]:
        return lambda: Captioner.load(args.model, quantize=quantize)

    captioners = {AS_IT_IS: loader(None)}
    captioners |= {bits: loader(bits) for bits in get_args(Quantization)}
    figures = compare(
        tasks(args.data, args.count, args.seed, args.limit),
        captioners,
        progress=lambda line: print(line, file=sys.stderr),
    )
    args.output.write_text(json.dumps(figures, indent=2) + "\n")
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
