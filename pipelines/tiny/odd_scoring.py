"""Whether `tiny` babbles, says no to what it was not made for, and knows who it is.

    python -m pipelines.tiny.odd_scoring MODEL --data FOLDER --output FILE.json

Questions, words, drawings, stamps and photographs are those that no training has seen. Everything
goes through `Captioner`, as a user would ask.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dvse.items import Audio, Text
from pipelines.answering.caption import Caption
from pipelines.answering.captioner import Captioner
from pipelines.tiny.conversations.asides import REFUSALS
from pipelines.tiny.conversations.drawn_kinds import drawn_kind
from pipelines.tiny.conversations.identity import answer_about_itself
from pipelines.tiny.conversations.mosaic import SIDE
from pipelines.tiny.conversations.odd_pictures import PHOTOGRAPHS, OddKind, load_odd_pictures
from pipelines.tiny.conversations.odd_recordings import RATE_HZ, SoundKind, load_odd_recordings
from pipelines.tiny.conversations.odd_texts import language_of, load_odd_texts
from pipelines.tiny.conversations.recording import load_voices
from pipelines.tiny.conversations.scene import LABELS, LANGUAGES, Language, Scene, parse_scene
from pipelines.tiny.conversations.talk_questions import TALK, WHO_HELD_OUT
from pipelines.tiny.conversations.turns import full_width
from pipelines.tiny.conversations.writing import HELD_OUT
from pipelines.training.image.pictures import load_pictures, parse_rows

LIMIT = 256
"""Most ids of an answer; one that reaches it has not ended by itself."""

_FIRST_DRAWING = 1_000_000
"""Drawings of trainings have other seeds."""

FAULTS = ("endless", "empty", "broken", "mixed", "other_language")

_NAMES = {"tiny", "dvse"}
_ASKED: dict[str, dict[Language, str]] = {
    "picture": {"en": "What is this?", "zh": "这是什么?"},
    "recording": {"en": "What was said?", "zh": "说了什么?"},
}


def faults(caption: Caption, language: Language) -> list[str]:
    """Return what is wrong with the form of an answer, whatever it says.

    `endless`: it ran to its limit; `empty`; `broken`: bytes that are no UTF-8; `mixed`: Chinese
    beside English words that are no names; `other_language`: all of it in the one not asked in.
    """
    told = caption.text + (caption.reasoning or "")
    found = []
    if not caption.is_complete:
        found.append("endless")
    if not caption.text.strip():
        found.append("empty")
    if "\ufffd" in told:
        found.append("broken")
    if is_mixed(told, language):
        other: Language = "en" if language == "zh" else "zh"
        found.append("mixed" if is_mixed(told, other) else "other_language")
    return found


def is_mixed(text: str, language: Language) -> bool:
    """Whether an answer has words of the other language.

    >>> is_mixed("我是 tiny。", "zh"), is_mixed("我是 a cat", "zh"), is_mixed("a 猫", "en")
    (False, True, True)
    """
    if language == "en":
        return any("\u4e00" <= c <= "\u9fff" for c in text)
    return any(word.lower() not in _NAMES for word in re.findall(r"[A-Za-z]+", text))


def score_odd(
    captioner: Captioner,
    data: Path,
    *,
    count: int = 2000,
    seed: int = 1,
    photographs: tuple[Path, ...] = PHOTOGRAPHS,
) -> dict[str, Any]:
    """Return all figures.

    Args:
        captioner: the model.
        data: the folder with `cifar10-train.parquet` and `fsdd/`.
        count: odd prompts; a tenth of it is how many pictures and sounds of a kind are shown.
        seed: of prompts, pictures and sounds.
        photographs: folders of pictures.
    """
    who = {
        language: answer_about_itself(
            "who", language, num_parameters=captioner.model.num_parameters()
        )
        for language in LANGUAGES
    }
    return {
        "identity": _identity(captioner, who),
        "texts": _texts(captioner, count, seed),
        "sums": _sums(captioner),
        "drawings": _drawings(captioner, max(1, 3 * count // 100)),
        "odd_pictures": _odd_pictures(captioner, count // 10, seed, photographs),
        "odd_recordings": _odd_recordings(captioner, count // 10, seed),
        "true_inputs_refused": _true(captioner, data, count // 2),
        "how": "identity: the plainest question with thinking at temperature 0.5, 100 seeds; "
        "paraphrases that no training asked. texts: odd prompts with held-out forms, topics and "
        "prose, half with thinking, half at temperature 0.5; a fault is an answer without an end "
        "in 256 ids, an empty one, broken UTF-8, two languages in one or the one not asked in. "
        "drawings: of the ten kinds that it knows, by the code that drew those it learnt from. "
        "odd pictures and recordings: share refused of sources held out.",
    }


def _identity(captioner: Captioner, who: dict[Language, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for language in LANGUAGES:
        asked = TALK["who"][language][0]
        right = [
            captioner(Text(asked), thinking=True, temperature=0.5, seed=seed) == who[language]
            for seed in range(100)
        ]
        found[f"seeds_right_{language}"] = sum(right)
        asked_otherwise = WHO_HELD_OUT[language]
        for thinking in (False, True):
            told = _ask_texts(captioner, asked_otherwise, thinking=thinking)
            name = f"paraphrases_right_{language}" + ("_thinking" if thinking else "")
            found[name] = sum(t.text == who[language] for t in told)
    return found


def _texts(captioner: Captioner, count: int, seed: int) -> dict[str, Any]:
    odd, rng = load_odd_texts(is_held_out=True), np.random.default_rng(seed)
    prompts = [odd.draw(rng) for _ in range(count * 9 // 10)]
    kinds = [kind for kind in TALK if kind != "who"]
    while len(prompts) < count:
        language: Language = "zh" if rng.random() < 0.5 else "en"
        choices = TALK[str(rng.choice(kinds))][language]
        prompts.append(full_width(choices[rng.integers(len(choices))]))
    counts = dict.fromkeys(FAULTS, 0)
    refused, longest = 0, 0
    ways = ((False, 0.0), (True, 0.0), (False, 0.5), (True, 0.5))
    for part, (thinking, temperature) in enumerate(ways):
        of_part = prompts[part::4]
        told = _ask_texts(captioner, of_part, thinking=thinking, temperature=temperature)
        for prompt, caption in zip(of_part, told, strict=True):
            for fault in faults(caption, language_of(prompt)):
                counts[fault] += 1
            refused += "cannot answer that" in caption.text or "这个我不会" in caption.text
            longest = max(longest, len(caption.token_ids))
    return {"prompts": count, **counts, "refused": refused, "longest_ids": longest}


def _sums(captioner: Captioner) -> dict[str, Any]:
    pairs = [(a, b) for a in range(11) for b in range(11)]
    found: dict[str, Any] = {"asked": len(pairs)}
    for name, form in (("plain", "{}+{}"), ("en", "What is {}+{}?"), ("zh", "{}+{}等于几?")):
        for thinking in (False, True):
            told = _ask_texts(captioner, [form.format(*p) for p in pairs], thinking=thinking)
            right = sum(t.text == str(a + b) for t, (a, b) in zip(told, pairs, strict=True))
            found[f"right_{name}" + ("_thinking" if thinking else "")] = right
    return found


def _drawings(captioner: Captioner, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {"of_each": count}
    seeds = range(_FIRST_DRAWING, _FIRST_DRAWING + count)
    for language in LANGUAGES:
        right = []
        for label in LABELS:
            drawings = [drawn_kind(label, np.random.default_rng(seed)) for seed in seeds]
            told: Any = captioner(drawings, prompt=_ASKED["picture"][language], on_error="raise")
            right += [parse_scene(text) == Scene(rows=((label,),)) for text in told]
        found[f"accuracy_{language}"] = round(float(np.mean(right)), 4)
    return found


def _odd_pictures(
    captioner: Captioner, count: int, seed: int, photographs: tuple[Path, ...]
) -> dict[str, Any]:
    odd = load_odd_pictures(is_held_out=True, photographs=photographs)
    kinds: dict[OddKind, bool] = {
        "drawing": bool(odd.drawings),
        "stamp": bool(odd.stamps),
        "photograph": bool(odd.photographs),
    }
    found: dict[str, Any] = {"of_each": count}
    for kind in (kind for kind, is_there in kinds.items() if is_there):
        for side in (SIDE, 2 * SIDE):
            pictures = [
                odd.draw(np.random.default_rng((seed, i)), side=side, kind=kind)
                for i in range(count)
            ]
            found[f"{kind}_{side}"] = _share_refused(captioner, pictures, "picture")
    if whole := _sample_photographs():
        found["sample_photographs"] = len(whole)
        found["sample_photographs_refused"] = _share_refused(captioner, whole, "picture")
    return found


def _sample_photographs() -> list[np.ndarray]:
    """Return the two photographs of scikit-learn, and those of scikit-image where it is there."""
    from sklearn.datasets import load_sample_images

    found = [np.asarray(image) for image in load_sample_images().images]
    try:
        from skimage import data as samples
    except ImportError:
        return found
    return [*found, *(getattr(samples, name)() for name in ("astronaut", "coffee", "rocket"))]


def _odd_recordings(captioner: Captioner, count: int, seed: int) -> dict[str, Any]:
    odd = load_odd_recordings(is_held_out=True)
    kinds: tuple[SoundKind, ...] = ("words", "captions", "music", "noise")
    found: dict[str, Any] = {"of_each": count}
    for kind in kinds if odd.sounds else ("words", "music", "noise"):
        sounds = [
            _audio(odd.draw(np.random.default_rng((seed, i)), kind=kind, augment=False))
            for i in range(count)
        ]
        found[kind] = _share_refused(captioner, sounds, "recording")
    return found


def _true(captioner: Captioner, data: Path, count: int) -> dict[str, Any]:
    pictures = load_pictures(
        data / "cifar10-train.parquet",
        size=SIDE,
        rows=parse_rows(HELD_OUT.rows),
        image_column="image",
        num_threads=1,
    )
    found: dict[str, Any] = {
        "pictures": _share_refused(captioner, list(pictures.pixels[:count]), "picture")
    }
    for split in ("known", "unknown"):
        voices = load_voices(data / "fsdd", split, num_synthetic=0, seed=0)
        clips = [clip for clips in voices.recorded.values() for clip in clips][:count]
        sounds = [_audio(clip.samples) for clip in clips]
        found[f"digits_{split}"] = _share_refused(captioner, sounds, "recording")
    return found


def _share_refused(captioner: Captioner, inputs: Sequence[Any], kind: str) -> float:
    """Return the share over both languages."""
    refused = []
    for number, language in enumerate(LANGUAGES):
        told: Any = captioner(
            list(inputs[number::2]),
            prompt=_ASKED[kind][language],
            on_error="raise",
            max_new_tokens=LIMIT,
        )
        refused += [text == REFUSALS[kind][language] for text in told]
    return round(float(np.mean(refused)), 4)


def _ask_texts(
    captioner: Captioner, prompts: Sequence[str], *, thinking: bool, temperature: float = 0.0
) -> list[Caption]:
    told: Any = captioner(
        [Text(prompt) for prompt in prompts],
        thinking=thinking,
        temperature=temperature,
        max_new_tokens=LIMIT,
        details=True,
        on_error="raise",
    )
    return list(told)


def _audio(samples: np.ndarray) -> Audio:
    return Audio(samples, sample_rate_hz=RATE_HZ)


def main() -> int:
    """Score and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2000, help="odd prompts")
    parser.add_argument("--photographs", type=Path, nargs="*", default=list(PHOTOGRAPHS))
    args = parser.parse_args()
    figures = score_odd(
        Captioner.load(args.model), args.data, count=args.count, photographs=tuple(args.photographs)
    )
    args.output.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
