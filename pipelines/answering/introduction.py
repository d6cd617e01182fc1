"""How a model introduces itself: what it knows, samples of it, the words with which it refuses.

It stands in the front matter of the model's card (`README.md`), as model hubs read it:

    description: what the model knows, in one line
    widget:                                     samples, each a file of the directory
    - src: samples/cat.png
      example_title: A cat
      text: What is this?
    refusals: [answers that mean "I do not know"]

Knows files, nothing of servers and pages. A card without them introduces nobody: that is no fault.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("dvse.model")
_MOST_SAMPLES = 6
_MOST_BYTES = 2_000_000
_LONGEST = 300
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?\r?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A file that shows what a model can do.

    Attributes:
        title: for the button.
        question: to ask about it, empty for the usual one.
        file: the file.
    """

    title: str
    question: str
    file: Path


@dataclass(frozen=True, kw_only=True)
class Introduction:
    """What a model says of itself.

    Attributes:
        knows: one line, empty where the card says nothing.
        samples: files to try it on.
        refusals: whole answers that mean that it does not know.
    """

    knows: str = ""
    samples: tuple[Sample, ...] = ()
    refusals: tuple[str, ...] = ()


def introduction_of(folder: Path) -> Introduction:
    """Read it from the card of a model directory.

    What is there and cannot be used (a sample that lies elsewhere, is missing or too large) is
    left out, with a line in the log.

    >>> from dvse.storage.finding import SHIPPED
    >>> [sample.title for sample in introduction_of(SHIPPED / "tiny").samples]
    ['A cat', 'Three digits', 'A house']
    """
    card = folder / "README.md"
    if not card.is_file():
        return Introduction()
    try:
        front = _front_matter(card.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        _LOG.warning("%s: its front matter cannot be read: %s", card, error)
        return Introduction()
    widget = front.get("widget")
    entries = widget[:_MOST_SAMPLES] if isinstance(widget, list) else []
    found = [_sample(folder, entry) for entry in entries if isinstance(entry, dict)]
    refusals = front.get("refusals")
    return Introduction(
        knows=_text(front.get("description")),
        samples=tuple(sample for sample in found if sample is not None),
        refusals=tuple(map(str, refusals)) if isinstance(refusals, list) else (),
    )


def _front_matter(text: str) -> dict[str, Any]:
    """Return what stands between the first two lines of three dashes.

    Raises:
        ValueError: it is no YAML, or no mapping.
    """
    import yaml  # what huggingface_hub reads it with, which takes longer to import than the model

    found = _FRONT.match(text)
    try:
        front = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(front, dict):
        raise ValueError(f"expected names with values, received {type(front).__name__}")
    return front


def _sample(folder: Path, entry: dict[str, Any]) -> Sample | None:
    name = str(entry.get("src", ""))
    file = (folder / name).resolve()
    if not name or not file.is_relative_to(folder.resolve()) or not file.is_file():
        _LOG.warning("%s: expected a sample in this directory, received %r", folder, name)
        return None
    if file.stat().st_size > _MOST_BYTES:
        _LOG.warning("%s: a sample of at most %d bytes was expected", file, _MOST_BYTES)
        return None
    title = _text(entry.get("example_title")) or file.stem
    return Sample(title=title, question=_text(entry.get("text")), file=file)


def _text(value: Any) -> str:
    return " ".join(str(value).split())[:_LONGEST] if value else ""
