"""A published text tokenizer as a text part: `tokenizer.json`, or a SentencePiece model."""

from pathlib import Path

from dvse.errors import BundleFormatError, BundleNotFoundError, WeightsFormatError
from dvse.storage.file_hash import file_sha256
from dvse.storage.part import Part
from dvse.text.hugging_face import HuggingFaceText
from dvse.text.sentencepiece import SentencePieceText
from dvse.text.tokenizer import TextTokenizer
from pipelines.importing.new_folder import new_folder


def import_text(source: Path, output: Path, *, licence: str = "") -> Part:
    """Write the part into `output`, whole or not at all.

    Args:
        source: a `tokenizer.json` of Hugging Face, a SentencePiece model, or a directory with a
            `tokenizer.json`.
        output: a new or empty directory.
        licence: of the tokenizer.

    Raises:
        BundleError: no such file, no tokenizer, or one that loses characters.
        ConfigError: an output folder in use.
        TrainingError: the disk is full.
    """
    path = source / "tokenizer.json" if source.is_dir() else source
    if not path.is_file():
        raise BundleNotFoundError(f"{path}: expected a tokenizer.json or a SentencePiece model")
    with new_folder(output, "the part") as folder:
        tokenizer = _read(path)
        tokenizer.save_files(folder)
        Part(
            modality="text",
            folder=folder,
            spec=tokenizer.spec(),
            provenance={
                "command": "dvse import text",
                "weights": {"file": path.name, "sha256": file_sha256(path)},
                "licence": licence,
            },
        ).save()
    return Part.load(output, modality="text")


def _read(path: Path) -> TextTokenizer:
    data = path.read_bytes()
    try:
        if data.lstrip()[:1] == b"{":
            return HuggingFaceText(data.decode("utf-8"))
        return SentencePieceText(data)
    except (BundleFormatError, UnicodeDecodeError) as error:
        raise WeightsFormatError(f"{path}: {error}") from error
