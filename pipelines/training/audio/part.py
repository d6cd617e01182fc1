"""From an audio tokenizer to a part on disk: its files, its figures and where it is from."""

from pathlib import Path
from typing import Any

from dvse.audio.tokenizer import AudioTokenizer
from dvse.storage.part import Part
from pipelines.training.parts import writing_part


def write_audio_part(
    tokenizer: AudioTokenizer, folder: Path, *, metrics: dict[str, Any], provenance: dict[str, Any]
) -> Part:
    """Save a tokenizer in `folder`, then `part.json` with its figures and provenance.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    part = Part(
        modality="audio",
        folder=folder,
        spec=tokenizer.spec(),
        metrics=metrics,
        provenance=provenance,
    )
    with writing_part(folder):
        tokenizer.save_files(folder)
        part.save()
    return part
