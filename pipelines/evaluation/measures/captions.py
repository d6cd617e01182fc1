"""How near captions come to references: the right label, words, BLEU and CIDEr.

The figures are the libraries': jiwer (word error rate), sacrebleu (Papineni et al. 2002, Post
2018), and the COCO captions' own code for CIDEr (Vedantam et al. 2015). Knows strings only.
"""

import re
import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from dvse.errors import ConfigError

_LIBRARIES = {"word_error_rate": "jiwer", "bleu": "sacrebleu", "cider": "pycocoevalcap"}


def caption_figures(
    captions: Sequence[str], references: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Return the figures of captions against one reference each.

    - `accuracy`: share of the captions that name the right label and no other one of `labels`;
    - `exact`: share that is the reference, case and punctuation aside;
    - `word_error_rate`: over all words, `bleu` 0 to 100, `cider` 0 to 10 (rarely above).

    A figure whose library is not installed is named in `not_measured`.

    Args:
        captions: what was said.
        references: what should have been said, as many.
        labels: what each input shows, as many; empty strings where there are none.

    Raises:
        ConfigError: lists of different lengths, or none at all.
    """
    if not len(captions) == len(references) == len(labels) or not captions:
        raise ConfigError(
            "expected as many captions as references and labels, and at least one, received "
            f"{len(captions)}, {len(references)} and {len(labels)}"
        )
    said, wanted = [normalized(c) for c in captions], [normalized(r) for r in references]
    names = {normalized(label) for label in labels} - {""}
    figures: dict[str, Any] = {"inputs": len(captions)}
    if names:
        hits = [
            named(one, names) == {normalized(label)}
            for one, label in zip(said, labels, strict=True)
        ]
        figures["accuracy"] = round(sum(hits) / len(hits), 4)
    exact = sum(a == b for a, b in zip(said, wanted, strict=True))
    figures["exact"] = round(exact / len(said), 4)
    missing = {}
    for name, library in _LIBRARIES.items():
        if find_spec(library) is None:
            missing[name] = f"{library} is not installed: pip install 'dvse[captions]'"
        else:
            figures[name] = round(_MEASURES[name](said, wanted), 4)
    if missing:
        figures["not_measured"] = missing
    return figures


def normalized(text: str) -> str:
    """Return the words of a text, lower case, without punctuation; Chinese a word a character.

    >>> normalized("A photo of a Frog."), normalized("一张青蛙的照片!")
    ('a photo of a frog', '一 张 青 蛙 的 照 片')
    """
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join(re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:'\w+)?", text))


def named(caption: str, labels: set[str]) -> set[str]:
    """Return the labels that occur in a normalized caption as whole words.

    >>> named("a photo of a cat", {"cat", "dog", "car"})
    {'cat'}
    """
    words = f" {caption} "
    return {label for label in labels if f" {label} " in words}


def _word_error_rate(said: list[str], wanted: list[str]) -> float:
    import jiwer

    return float(jiwer.wer(wanted, said))


def _bleu(said: list[str], wanted: list[str]) -> float:
    import sacrebleu

    # Captions may be a single word, which has no 4-grams: orders that never occur are left out.
    return float(sacrebleu.BLEU(effective_order=True).corpus_score(said, [wanted]).score)


def _cider(said: list[str], wanted: list[str]) -> float:
    from pycocoevalcap.cider.cider import Cider

    references = {number: [text] for number, text in enumerate(wanted)}
    score, _ = Cider().compute_score(references, {n: [text] for n, text in enumerate(said)})
    return float(score)


_MEASURES = {"word_error_rate": _word_error_rate, "bleu": _bleu, "cider": _cider}
