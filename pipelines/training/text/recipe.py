"""Trains the text part of a bundle: a SentencePiece model and its figures.

Every fiftieth line is held out; the figures come from those lines alone.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from dvse.errors import TrainingError
from dvse.storage.part import Part
from dvse.text.sentencepiece import SentencePieceText
from pipelines.training.parts import writing_part
from pipelines.training.text.lines import TextSource, text_sources
from pipelines.training.text.settings import TextRecipe

_HOLD_OUT = 50


def train_text(recipe: TextRecipe, output: Path) -> Part:
    """Train on files, folders and `hf:` data sets, streamed, and write the part into `output`.

    Raises:
        TrainingError: no text, too little for so many pieces, or a full disk.

    Returns:
        The part; `metrics` holds bytes per token and round-trip failures of each file's held-out
        lines.
    """
    sources = text_sources(recipe.data)
    lines = (line for source in sources for line in _split(source, held_out=False) if line.strip())
    first = next(lines, None)
    if first is None:
        raise TrainingError(
            "expected at least two lines of text, for the first and every 50th after it are held "
            f"out; received no other line that is not blank in {', '.join(recipe.data)}"
        )
    model = SentencePieceText.train(
        chain([first], lines),
        vocab_size=recipe.vocab_size,
        model_type=recipe.model_type,
        character_coverage=recipe.character_coverage,
    )
    part = Part(
        modality="text",
        folder=output,
        spec=model.spec(),
        metrics={
            "held_out": f"every {_HOLD_OUT}th line",
            "files": {name: _figures(model, source) for name, source in _names(sources).items()},
        },
        provenance={
            "command": f"dvse train text --vocab-size {recipe.vocab_size} "
            f"--model-type {recipe.model_type}",
            "data": [
                {"name": name, "sha256": source.sha256()}
                for name, source in _names(sources).items()
            ],
        },
    )
    with writing_part(output):
        output.mkdir(parents=True, exist_ok=True)
        model.save_files(output)
        part.save()  # last: a folder without it is no part
    return part


def _split(source: TextSource, *, held_out: bool) -> Iterator[str]:
    for number, line in enumerate(source.lines()):
        if (number % _HOLD_OUT == 0) == held_out:
            yield line


def _names(sources: Sequence[TextSource]) -> dict[str, TextSource]:
    """A short name for each: its own, with as many folders before it as tell all apart."""
    for length in range(1, max(len(source.parts) for source in sources) + 1):
        names = ["/".join(source.parts[-length:]) for source in sources]
        if len(set(names)) == len(sources):
            break
    return dict(zip(names, sources, strict=True))


def _figures(model: SentencePieceText, source: TextSource) -> dict[str, Any]:
    num_bytes = num_tokens = failures = 0
    for line in _split(source, held_out=True):
        ids = model.encode(line)
        num_bytes += len(line.encode())
        num_tokens += len(ids)
        failures += model.decode(ids) != line
    return {
        "bytes": num_bytes,
        "bytes_per_token": round(num_bytes / max(num_tokens, 1), 3),
        "round_trip_failures": failures,
    }
