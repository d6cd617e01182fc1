"""A model or bundle for devices: what every target writes, and the contract of a target.

decoder.*      ids `int64 [1, T]`, positions `int64 [T]` to logits `fp32 [1, vocab_size]`; the cache
               is inside, a conversation begins at position 0
pictures.*     `pixels` `[1, side, side, 3]` to codes `int32 [1, rows * columns, num_levels]`
recordings.*   `samples` `fp32 [1, n]` to codes `int32 [1, frames, num_levels]`
vocabulary.json, text/                  which id a code has, the text part
export.json, README.md                  what was measured, for programs and, in the card, for people
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dvse.errors import ConfigError
from dvse.storage.weight_files import check_weight_files
from dvse.tokenizer import Tokenizer
from pipelines.answering.light_loading import load_to_answer
from pipelines.answering.room import check_room
from pipelines.answering.whole_directory import write_whole
from pipelines.runtimes.agreement import recordings
from pipelines.runtimes.device_settings import INT4_GROUP, DeviceSettings
from pipelines.runtimes.source import (
    Source,
    refuse_experts,
    refuse_strangers,
    refuse_uneven_rows,
    write_json,
)


class DeviceTarget(ABC):
    """How programs of one kind are written.

    Attributes:
        name: what people call it.
        suffix: of its files.
        libraries: whose versions are recorded.
        weights: what it can hold a decoder's products in.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]]
    weights: ClassVar[tuple[str, ...]] = ("float32",)

    @abstractmethod
    def check_extra(self) -> None:
        """Raise `MissingExtraError` unless what writes it is installed."""

    @abstractmethod
    def write_half(self, module: Any, inputs: list[np.ndarray], shapes: Any, path: Path) -> str:
        """Write `PictureCodes` or `RecordingCodes`, and return what was measured.

        Args:
            module: to be traced.
            inputs: `[1, ...]` each, to trace with and to compare on.
            shapes: which sizes of them are free, `None` for none.
            path: where.

        Raises:
            BundleError: it does not agree with torch.
            ConfigError: the target cannot express it.
        """

    @abstractmethod
    def write_decoder(self, decoder: Any, settings: DeviceSettings, path: Path) -> str:
        """Write a decoder, which is taken over, and return what was measured; errors as above."""


def export_to_device(
    target: DeviceTarget,
    name: str | Path,
    output: Path,
    settings: DeviceSettings | None = None,
    *,
    note: Callable[[str], None] = lambda line: None,
) -> Mapping[str, str]:
    """Export a model (or a bundle alone) and return what was measured.

    Args:
        target: for which runtime.
        name: a shipped name, a directory or a Hub id.
        output: a new directory, or an export to replace.
        settings: what the device gets.
        note: told what is being done.

    Raises:
        MissingExtraError: what writes it is not installed.
        BundleError: there is no such bundle, or a program does not agree with torch.
        ConfigError: a decoder with experts and all that `Source.find` refuses, a context longer
            than the decoder's, weights that the target cannot hold or whose rows no group divides,
            too little memory for it and its context, or `output` holds something else.
    """
    settings = settings or DeviceSettings()
    source = Source.find(name)
    _check(source, target, settings)
    refuse_strangers(output)
    target.check_extra()
    if source.folders is not None:
        check_weight_files(source.folders.decoder)
    figures: dict[str, str] = {}

    def fill(draft: Path) -> None:
        shutil.copytree(source.bundle.folder / "text", draft / "text")
        write_json(draft / "vocabulary.json", source.bundle.vocabulary.to_dict())
        tokenizer = Tokenizer.from_bundle(source.bundle)
        for stem, module, inputs, shapes in _halves(tokenizer, settings):
            note(f"{stem}: lowering")
            path = draft / f"{stem}{target.suffix}"
            figures[stem] = target.write_half(module, inputs, shapes, path)
        if source.folders is not None:
            note("decoder: lowering")
            decoder = load_to_answer(source.name, dtype="float32").model
            path = draft / f"decoder{target.suffix}"
            figures["decoder"] = target.write_decoder(decoder, settings, path)
        write_json(draft / "export.json", _about(target, source, settings, figures))
        (draft / "README.md").write_text(_card(target, source, figures), encoding="utf-8")

    write_whole(output.absolute(), fill)
    return figures


def _check(source: Source, target: DeviceTarget, settings: DeviceSettings) -> None:
    """Refuse, before any weight is read, what a target cannot be given."""
    refuse_experts(source.name, source.config, target.name)
    if settings.weights not in target.weights:
        raise ConfigError(
            f"--weights {settings.weights}: {target.name} takes {' or '.join(target.weights)} here"
        )
    most = source.config.get("max_position_embeddings", settings.context)
    if settings.context > most:
        raise ConfigError(
            f"--context {settings.context}: the decoder has {most} positions; ask for fewer"
        )
    if source.folders is None:
        return
    if settings.weights == "int4":
        refuse_uneven_rows(source.name, source.config, INT4_GROUP)
    check_room(source.folders.decoder, dtype="float32", num_tokens=settings.context)


def _card(target: DeviceTarget, source: Source, figures: Mapping[str, str]) -> str:
    """Return the card of what was exported, with a row a program behind it."""
    lines = [
        source.bundle.card.rstrip() or f"# {source.bundle.name}",
        f"\n## For {target.name}\n",
        f"Exported from `{source.bundle.name}`; figures are of the machine that exported.\n",
        "| program | |",
        "|---|---|",
        *(f"| `{stem}{target.suffix}` | {figure} |" for stem, figure in figures.items()),
    ]
    return "\n".join(lines) + "\n"


def megabytes(path: Path) -> str:
    """Return how much a file or folder takes."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return f"{sum(one.stat().st_size for one in files) / 1e6:.1f} MB"


def _halves(
    tokenizer: Tokenizer, settings: DeviceSettings
) -> list[tuple[str, Any, list[np.ndarray], Any]]:
    """Return name, module, inputs and free sizes of the tokenizer's halves."""
    from dvse.audio.code_graph import RecordingCodes
    from dvse.image.code_graph import PictureCodes

    found: list[tuple[str, Any, list[np.ndarray], Any]] = []
    if (image := tokenizer.image) is not None:
        pixels = _square(image.preparer.geometry, settings.picture_side)
        found.append(("pictures", PictureCodes(image), [pixels], None))
    if (audio := tokenizer.audio) is not None:
        module = RecordingCodes(audio)
        sounds = [batch[:1] for batch in recordings(audio.preparer)]
        found.append(("recordings", module, sounds[::-1], module.device_shapes()))
    return found


def _square(geometry: Any, side: int | None) -> np.ndarray:
    """Return noise `uint8 [1, H, W, 3]` of the size that a square picture is brought to.

    Raises:
        ConfigError: pictures of this bundle are not of that size.
    """
    wanted = side or 1 << 14
    rows, columns = geometry.place(wanted, wanted).grid
    patch = geometry.patch_size
    if side is not None and (rows * patch, columns * patch) != (side, side):
        raise ConfigError(
            f"--picture-side {side}: this bundle brings such a picture to {rows * patch} x "
            f"{columns * patch} pixels; ask for that"
        )
    draws = np.random.default_rng(0)
    return draws.integers(0, 256, (1, rows * patch, columns * patch, 3), dtype=np.uint8)


def _about(
    target: DeviceTarget, source: Source, settings: DeviceSettings, figures: Mapping[str, str]
) -> dict[str, Any]:
    libraries = ("torch", "dvse", *target.libraries)
    return {
        "target": target.name,
        "exported_from": {"name": source.bundle.name, "fingerprint": source.bundle.fingerprint},
        **asdict(settings),
        "versions": {library: metadata.version(library) for library in libraries},
        "figures": dict(figures),
    }
