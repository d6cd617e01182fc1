"""What a precision does, for people: a line a modality and split."""

from collections.abc import Iterator, Mapping
from typing import Any

_SHOWN = {"label_purity": "label purity", "file_label_nmi": "NMI of whole-file labels"}


def precision_lines(figures: Mapping[str, Any], precision: str) -> Iterator[str]:
    """Yield lines for what `precision_figures` found, captions last."""
    for modality, splits in figures.items():
        for split, found in splits.items():
            if modality == "captions":
                for one, values in found.items():
                    told = ", ".join(_change(n, v) for n, v in values.items())
                    yield f"{precision} against float32: captions, {split}, {one}: {told}"
                continue
            parts = [f"{100 * found['codes_kept']:.2f} % of {found['codes']:,} codes stay"]
            parts += [
                f"{name} {found['float32'][key]:g} -> {found['here'][key]:g}"
                for key, name in _SHOWN.items()
                if key in found["here"]
            ]
            yield f"{precision} against float32: {modality}, {split}: {', '.join(parts)}"


def _change(name: str, values: Mapping[str, float]) -> str:
    return f"{name.replace('_', ' ')} {values['float32']:g} -> {values['here']:g}"
