"""Puts trained parts together into a bundle, or adds parts to one without moving an id."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dvse.codebook import Codebook
from dvse.errors import ConfigError, VocabularyError
from dvse.storage.bundle import Bundle, Section, install_bundle, write_bundle
from dvse.storage.file_hash import file_sha256
from dvse.storage.finding import find_bundle
from dvse.storage.part import Part
from dvse.text.loading import load_text_tokenizer
from dvse.tokenizer import Tokenizer
from dvse.vocabulary import Vocabulary
from pipelines.training.bundle_card import with_figures
from pipelines.training.learnt_runs import LearntRuns

# What a file's ids depend on beside the codebook; of the spec everything but what turns codes
# back into pixels.
_ENCODER_FILES = ("encoder.safetensors", "projections.safetensors")
_FREE = {"decoder": None}


def build_bundle(
    output: Path,
    *,
    parts: Mapping[str, Path],
    runs: Path | None = None,
    name: str | None = None,
    base: str | Path | None = None,
    allow_new_encoder: bool = False,
    card: str = "",
) -> Bundle:
    """Write a bundle from parts.

    Args:
        output: a directory that does not exist yet or is empty.
        parts: modality → folder that `dvse train` wrote. Text is needed unless `base` has it.
        runs: folder that `dvse train bpe` wrote; those runs of audio codes get an id each.
        name: what the bundle calls itself; by default the directory's name.
        base: a bundle to grow: its ids keep their meaning, new codes are appended.
        allow_new_encoder: let a part bring another encoder under the codes of the base, as
            `dvse train image --start` makes one: files get other ids that mean the same.
        card: Markdown: data, licences, purpose. Figures of long recordings are added.

    Raises:
        ConfigError: no text part, text given for a base, or `output` not empty.
        VocabularyError: a codebook that is not the one it replaces and more codes behind,
            another encoder under it that was not allowed, or runs that were learnt on other codes
            or do not begin with those of the base.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output}: expected a new or empty directory")
    old = None if base is None else Bundle.open(find_bundle(base))
    if old is None and "text" not in parts:
        raise ConfigError("a bundle needs a text part; pass --text, or --base to grow a bundle")
    if old is not None and "text" in parts:
        raise ConfigError("text ids come first and cannot grow; leave --text out or --base")
    sections = dict(old.sections) if old else {}
    tokenizers = {m: _load(m, s, old.folder / m) for m, s in sections.items()} if old else {}
    for modality, folder in parts.items():
        part = Part.load(folder, modality=modality)
        section = Section(spec=part.spec, metrics=part.metrics, provenance=part.provenance)
        grown = _load(modality, section, folder)
        if old is not None and modality in tokenizers:
            _check_meaning(modality, _codebook(tokenizers[modality]), _codebook(grown))
            if not allow_new_encoder:
                _check_encoder(modality, old, part)
        sections[modality], tokenizers[modality] = section, grown
    vocabulary = _vocabulary(old.vocabulary if old else None, tokenizers)
    if runs is not None:
        vocabulary = vocabulary.grow_runs(_learnt(runs, tokenizers).runs)
    _say_of_runs(sections, old, runs)
    _install(
        output,
        tokenizers,
        name=name or output.name,
        vocabulary=vocabulary,
        sections=sections,
        card=with_figures(card or (old.card if old else ""), sections),
    )
    return Bundle.open(output)


def _install(output: Path, tokenizers: Mapping[str, Any], **about: Any) -> None:
    """Write a bundle, see that it loads, and only then move it to its place."""
    with tempfile.TemporaryDirectory() as temporary:
        draft = Path(temporary)
        for modality, tokenizer in tokenizers.items():
            (draft / modality).mkdir()
            tokenizer.save_files(draft / modality)
        Tokenizer.from_bundle(write_bundle(draft, **about))
        install_bundle(draft, output)


def _load(modality: str, section: Section, folder: Path) -> Any:
    if modality == "text":
        return load_text_tokenizer(section.spec, folder)
    if modality == "image":
        from dvse.image.tokenizer import ImageTokenizer

        return ImageTokenizer.from_spec(section.spec, folder)
    from dvse.audio.loading import load_audio_tokenizer

    return load_audio_tokenizer(section.spec, folder)


def _vocabulary(old: Vocabulary | None, tokenizers: Mapping[str, Any]) -> Vocabulary:
    text = tokenizers["text"]
    vocabulary = old or Vocabulary.create(text_size=text.size, text_specials=text.special_tokens)
    for modality in ("image", "audio"):
        if (media := tokenizers.get(modality)) is not None:
            vocabulary = vocabulary.grow(
                modality, num_codes=media.num_codes, num_levels=media.num_levels
            )
    return vocabulary


def _learnt(folder: Path, tokenizers: Mapping[str, Any]) -> LearntRuns:
    learnt = LearntRuns.load(folder)
    if "audio" not in tokenizers:
        raise ConfigError(f"{folder}: runs of audio codes need an audio part; pass --audio")
    learnt.check(tokenizers["audio"])
    return learnt


def _say_of_runs(sections: dict[str, Section], old: Bundle | None, folder: Path | None) -> None:
    """What is said of runs of codes stands under a key of its own, whatever part is below them."""
    if folder is not None:
        learnt = LearntRuns.load(folder)
        metrics, provenance = learnt.metrics, learnt.provenance
    elif old is not None and old.vocabulary.runs:
        before = old.sections["audio"]
        metrics, provenance = (x.get("runs", {}) for x in (before.metrics, before.provenance))
    else:
        return
    section = sections["audio"]
    sections["audio"] = replace(
        section,
        metrics={**section.metrics, "runs": dict(metrics)},
        provenance={**section.provenance, "runs": dict(provenance)},
    )


def _codebook(media: Any) -> Codebook | None:
    return getattr(getattr(media, "quantizer", media), "codebook", None)


def _check_meaning(modality: str, old: Codebook | None, new: Codebook | None) -> None:
    """Old codes keep their ids, so they must keep their centroids too."""
    kept = None
    if old is not None and new is not None:
        kept = new.centroids[: old.num_levels, : old.num_codes]
    if old is None or kept is None or not torch.equal(kept, old.centroids):
        raise VocabularyError(
            f"{modality}: the new codebook does not begin with the centroids of the base, so its "
            "ids would change their meaning; build a new bundle without --base"
        )


def _check_encoder(modality: str, old: Bundle, part: Part) -> None:
    """Ids depend on the encoder as much as on the centroids."""
    changed = [
        name
        for name in sorted(_ENCODER_FILES)
        if _hash(old.folder / modality / name) != _hash(part.folder / name)
    ]
    before, after = ({**s, **_FREE} for s in (old.sections[modality].spec, part.spec))
    changed += [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    if changed:
        raise VocabularyError(
            f"{modality}: the part has the codes of the base but another encoder ({changed}), so "
            "the same file would get other ids than before; allow it with --allow-new-encoder, or "
            "build a new bundle without --base"
        )


def _hash(path: Path) -> str | None:
    return file_sha256(path) if path.is_file() else None
