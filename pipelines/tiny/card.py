"""The model card of `tiny`: what it is for and not for, and its figures beside what was wanted.

    python -m pipelines.tiny.card MODEL --figures FILE

Written into the model directory as `README.md`, where the Hub shows it.
"""

import argparse
import json
import shutil
import sys
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_TEXT = """---
license: other
library_name: dvse
pipeline_tag: image-text-to-text
description: Ten kinds of 32×32 pictures, also put together, and English digits, up to six in a row.
widget:
- src: samples/cat.png
  example_title: A cat
  text: What is this?
- src: samples/three-one-four.flac
  example_title: Three digits
  text: What was said?
- src: samples/house.png
  example_title: A house
  text: What is this?
refusals:
{refusals}
---

# tiny

The small model that ships with DVSE: a decoder of {parameters:.1f} million parameters
({layers} layers of width {width}, grouped-query attention{gates}) and, beside it, the bundle whose
ids it reads. It runs anywhere, offline.

**What it is for.** Trying the API and the server, tests, and a worked example of the whole way from
files to words. Asked in English or Chinese, it

- names a picture of 32×32 pixels out of ten kinds ({labels});
- says what is where among two to four such pictures put together to 64×64;
- writes down English digits, up to six in a row, adds them, tells the largest;
- says what it is, and greets. With thinking on, it reasons first, in one short sentence or step by
  step.

**What it is not for.** Photographs, other objects, other words, other languages in speech, noise,
music, facts, conversation. It was taught to say that it cannot, and mostly does: how often stands
below. Odd pictures as small as those it knows it names in two cases of nine, of drawings of the ten
kinds it gets one in seven wrong, of cats and frogs two in five; vowels and one sentence in ten it
may take for digits, digits of a voice it does not know it mishears, and refuses one in forty; of
sums that are written instead of spoken it gets one in nine wrong. Do not decide anything about
people with it.

**What it was trained on.** The first 45,000 training pictures of CIFAR-10 (research use), mosaics
made of them; the training part of the Free Spoken Digit Dataset (CC BY-SA 4.0) without the speaker
`lucas` and without indices 5-9 of the others, joined with pauses, varied in speed, formants, tempo,
room and noise; digits spoken by 120 voices of espeak-ng, four of Flite and three of Festival;
questions and answers from templates. To say no it learnt from drawings made by code, stamps and
sounds of `tuxpaint-stamps-default` (GPL-2), photographs of Debian's `gnome-backgrounds`,
`mate-backgrounds`, `plasma-workspace-wallpapers` and `ukui-wallpapers`, clip art of
`openclipart-png`, lines of the Debian Reference, words and sentences of espeak-ng and Flite, and
music and noise made by code.
{training}
`make tiny-model` trains it anew; the terms of the data apply to the weights, see `NOTICE`.

## Figures

On rows 45,000-49,999 of the pictures and on recordings that no stage has seen; asked as a user
would, through `Captioner`. `python -m pipelines.tiny.scoring tiny --data DIR --output FILE`
measures again. Which stages' weights are averaged was chosen by these figures, so they flatter a
little.

{table}
{odd}
The bundle's own card and figures stand in `dvse.json`.
"""


def model_card(config: dict[str, Any], figures: dict[str, Any], num_parameters: int) -> str:
    """Return the card as Markdown.

    Args:
        config: of the decoder, as in `config.json`.
        figures: of `scoring.score`; `training`, where given, says how this one was trained.
        num_parameters: of the decoder.
    """
    from pipelines.tiny.conversations.asides import REFUSALS
    from pipelines.tiny.conversations.scene import LABELS

    refusals = [words for kind in REFUSALS.values() for words in kind.values()]
    return _TEXT.format(
        refusals="\n".join(f"- {words}" for words in refusals),
        parameters=num_parameters / 1e6,
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        gates=", token gates on" if config.get("use_token_gate") else "",
        labels=", ".join(LABELS),
        training=textwrap.fill(figures.get("training", ""), 100),
        table=figure_table(figures),
        odd=odd_text(figures["odd"]) if "odd" in figures else "",
    )


def figure_table(figures: dict[str, Any]) -> str:
    """Return the figures of `scoring.score` beside what was wanted, as a table in Markdown."""
    rows = ["| | English | Chinese | wanted |", "|---|---|---|---|"]

    def add(name: str, part: str, key: str, wanted: str) -> None:
        told = [figures[part].get(f"{key}_{language}") for language in ("en", "zh")]
        cells = ["" if value is None else _percent(value) for value in told]
        rows.append(f"| {name} | {' | '.join(cells)} | {wanted} |")

    for name, part, key, wanted in (
        ("class of a picture, {} pictures", "pictures", "accuracy", "75 %"),
        ("tiles right in their place, {} mosaics", "mosaics", "tiles", "60 %"),
    ):
        if part in figures:
            add(name.format(figures[part]["inputs"]), part, key, wanted)
        else:
            rows.append(f"| {name.format('')} | not measured | | {wanted} |")
    for part, who, wanted in (("known", "known speakers", "95 %"), ("unknown", "unknown", "75 %")):
        if part not in figures:
            rows.append(f"| digits, {who} | not measured | | {wanted} |")
            continue
        found = figures[part]
        digit = _percent(found["digit_accuracy"])
        rows.append(f"| single digits, {who}, {found['digits']} | {digit} | | {wanted} |")
        add(f"word error, {who}, {found['sequences']} sequences", part, "word_error", "5 %")
        add(
            f"sums with thinking, {who}, of those heard right",
            part,
            "sum_thinking_of_heard",
            "85 %",
        )
        add(f"sums with thinking, {who}, end to end", part, "sum_thinking", "")
        add(f"sums without thinking, {who}, of those heard right", part, "sum_plain_of_heard", "")
        add(f"sums without thinking, {who}, end to end", part, "sum_plain", "")
    return "\n".join(rows)


def odd_text(odd: dict[str, Any]) -> str:
    """Return the figures of `odd_scoring.score_odd` as Markdown.

    >>> print(_percent(0.915))
    91.5 %
    """
    who, texts, sums = odd["identity"], odd["texts"], odd["sums"]
    faults = sum(texts[name] for name in ("endless", "empty", "broken", "mixed"))
    other = texts["other_language"]
    right = [count for name, count in sums.items() if name.startswith("right")]
    rows = [
        "",
        "What it was not made for, from sources that no training has seen",
        "(`python -m pipelines.tiny.odd_scoring tiny --data DIR --output FILE`):",
        "",
        "| | English | Chinese | wanted |",
        "|---|---|---|---|",
        "| who it is, with thinking at temperature 0.5, of 100 seeds "
        f"| {who['seeds_right_en']} | {who['seeds_right_zh']} | 98 |",
        "| who it is, asked in 10 ways kept apart "
        f"| {who['paraphrases_right_en']} | {who['paraphrases_right_zh']} | 10 |",
        "| the same with thinking "
        f"| {who['paraphrases_right_en_thinking']} | {who['paraphrases_right_zh_thinking']} | 10 |",
        "",
        "| | | wanted |",
        "|---|---|---|",
        f"| answers without an end, empty, broken or of mixed languages, {texts['prompts']} odd "
        f"prompts | {faults} | 0 |",
        f"| answers in the other language than asked in, the same prompts | {other} | 0 |",
        f"| sums of two numbers up to ten, {sums['asked']} in each of six ways "
        f"| {_percent(sum(right) / (len(right) * sums['asked']))} | |",
    ]
    if drawings := odd.get("drawings"):
        told = [_percent(drawings[f"accuracy_{language}"]) for language in ("en", "zh")]
        rows.append(
            f"| drawings of the ten kinds, {drawings['of_each']} of each, told in English; in "
            f"Chinese | {told[0]}; {told[1]} | |"
        )
    refused = {
        **{f"odd pictures: {name}": share for name, share in odd["odd_pictures"].items()},
        **{f"odd recordings: {name}": share for name, share in odd["odd_recordings"].items()},
    }
    rows += [
        f"| {name.replace('_', ' ').replace(' refused', '')}, refused | {_percent(share)} | 90 % |"
        for name, share in refused.items()
        if isinstance(share, float)
    ]
    rows += [
        f"| true {name.replace('_', ', ')}, refused | {_percent(share)} | at most 3 % |"
        for name, share in odd["true_inputs_refused"].items()
    ]
    return "\n".join([*rows, ""])


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def write_card(model: Path, figures: dict[str, Any]) -> Path:
    """Write `README.md` and the samples that it names into a model directory; return its path."""
    from model import DvseConfig
    from model.sizes import count_parameters
    from pipelines.tiny.samples import make_samples

    config = DvseConfig.from_pretrained(model)
    card = model_card(config.to_dict(), figures, count_parameters(config).total)
    (model / "samples").mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        for file in make_samples(Path(folder)):
            if f"samples/{file.name}\n" in card:
                shutil.copy(file, model / "samples")
    path = model / "README.md"
    path.write_text(card, encoding="utf-8")
    return path


def main() -> int:
    """Write the card of a model directory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--figures", type=Path, required=True, help="what scoring wrote")
    args = parser.parse_args()
    print(write_card(args.model, json.loads(args.figures.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
