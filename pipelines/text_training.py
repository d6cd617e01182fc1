"""Trains the text part of a bundle: a SentencePiece model and its figures.

Every fiftieth line is held out; the figures come from those lines alone.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from dvse.part import Part
from dvse.text.sentencepiece import SentencePieceText
from pipelines.text_lines import read_lines, text_files

_HOLD_OUT = 50


def train_text(
    paths: Sequence[Path],
    output: Path,
    *,
    vocab_size: int,
    model_type: Literal["unigram", "bpe"] = "unigram",
    character_coverage: float = 0.9995,
) -> Part:
    """Train on text files and write the part into `output`.

    Raises:
        TrainingError: no text, or too little for so many pieces.

    Returns:
        The part; `metrics` holds bytes per token and round-trip failures of each file's held-out
        lines.
    """
    files = text_files(paths)
    model = SentencePieceText.train(
        (line for path in files for line in _split(path, held_out=False)),
        vocab_size=vocab_size,
        model_type=model_type,
        character_coverage=character_coverage,
    )
    output.mkdir(parents=True, exist_ok=True)
    model.save_files(output)
    part = Part(
        modality="text",
        folder=output,
        spec=model.spec(),
        metrics={
            "held_out": f"every {_HOLD_OUT}th line",
            "files": {name: _figures(model, path) for name, path in _names(files).items()},
        },
        provenance={
            "command": f"dvse train text --vocab-size {vocab_size} --model-type {model_type}",
            "data": [
                {"name": name, "sha256": _sha256(path)} for name, path in _names(files).items()
            ],
        },
    )
    part.save()
    return part


def _split(path: Path, *, held_out: bool) -> Iterator[str]:
    for number, line in enumerate(read_lines(path)):
        if (number % _HOLD_OUT == 0) == held_out:
            yield line


def _names(files: Sequence[Path]) -> dict[str, Path]:
    """A short name for each file: its own, with as many folders before it as tell all apart."""
    for length in range(1, max(len(path.parts) for path in files) + 1):
        names = ["/".join(path.parts[-length:]) for path in files]
        if len(set(names)) == len(files):
            break
    return dict(zip(names, files, strict=True))


def _figures(model: SentencePieceText, path: Path) -> dict[str, Any]:
    num_bytes = num_tokens = failures = 0
    for line in _split(path, held_out=True):
        ids = model.encode(line)
        num_bytes += len(line.encode())
        num_tokens += len(ids)
        failures += model.decode(ids) != line
    return {
        "bytes": num_bytes,
        "bytes_per_token": round(num_bytes / max(num_tokens, 1), 3),
        "round_trip_failures": failures,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
