"""Puts trained parts together into a bundle, or adds parts to one without moving an id."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dvse.bundle import Bundle, Section, find_bundle, write_bundle
from dvse.errors import ConfigError
from dvse.part import Part
from dvse.text.tokenizer import load_text_tokenizer
from dvse.tokenizer import Tokenizer
from dvse.vocabulary import Vocabulary


def build_bundle(
    output: Path,
    *,
    parts: Mapping[str, Path],
    name: str | None = None,
    base: str | Path | None = None,
    card: str = "",
) -> Bundle:
    """Write a bundle from parts.

    Args:
        output: a directory that does not exist yet or is empty.
        parts: modality → folder that `dvse train` wrote. Text is needed unless `base` has it.
        name: what the bundle calls itself; by default the directory's name.
        base: a bundle to grow: its ids keep their meaning, new codes are appended.
        card: Markdown: data, licences, what it is for and what not.

    Raises:
        ConfigError: no text part, text given for a base, or `output` is not empty.
        VocabularyError: a codebook is smaller than the one it replaces.
    """
    if output.exists() and any(output.iterdir()):
        raise ConfigError(f"{output}: expected a new or empty directory")
    loaded = {modality: Part.load(folder, modality=modality) for modality, folder in parts.items()}
    old = None if base is None else Bundle.open(find_bundle(base))
    if old is None and "text" not in loaded:
        raise ConfigError("a bundle needs a text part; pass --text, or --base to grow a bundle")
    if old is not None and "text" in loaded:
        raise ConfigError("text ids come first and cannot grow; leave --text out or --base")
    sections = dict(old.sections) if old else {}
    folders = {m: old.folder / m for m in sections} if old else {}
    for modality, part in loaded.items():
        sections[modality] = Section(
            spec=part.spec, metrics=part.metrics, provenance=part.provenance
        )
        folders[modality] = part.folder
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as temporary:
        draft = Path(temporary) / "bundle"
        for modality, folder in folders.items():
            shutil.copytree(
                folder, draft / modality, ignore=shutil.ignore_patterns("part.json", "checkpoint*")
            )
        vocabulary = _vocabulary(old.vocabulary if old else None, sections, draft)
        write_bundle(
            draft,
            name=name or output.name,
            vocabulary=vocabulary,
            sections=sections,
            card=card or (old.card if old else ""),
        )
        Tokenizer.from_bundle(Bundle.open(draft))
        if output.exists():
            output.rmdir()
        draft.rename(output)
    return Bundle.open(output)


def _vocabulary(old: Vocabulary | None, sections: Mapping[str, Section], draft: Path) -> Vocabulary:
    if old is None:
        text = load_text_tokenizer(sections["text"].spec, draft / "text")
        old = Vocabulary.create(text_size=text.size, text_specials=text.special_tokens)
    for modality in ("image", "audio"):
        if modality in sections:
            num_codes, num_levels = _codebook_shape(modality, sections[modality], draft)
            old = old.grow(modality, num_codes=num_codes, num_levels=num_levels)
    return old


def _codebook_shape(modality: str, section: Section, draft: Path) -> tuple[int, int]:
    if modality == "image":
        from dvse.image.tokenizer import ImageTokenizer as MediaTokenizer
    else:
        from dvse.audio.tokenizer import AudioTokenizer as MediaTokenizer  # type: ignore[assignment]
    media = MediaTokenizer.from_spec(section.spec, draft / modality)
    return media.num_codes, media.num_levels
