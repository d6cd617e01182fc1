"""Figures of a part or bundle for people: those that stand together in a line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_WIDTH = 96


def figure_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines for nested figures, each group under its dotted name.

    >>> list(figure_lines({"files": 3, "long_recordings": {"window_share": 0.12, "units": 900}}))
    ['files 3', 'long_recordings: window_share 0.12, units 900']
    """
    for name, leaves in _groups("", metrics):
        yield from _wrapped(name, leaves)


def _groups(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    leaves = [f"{k} {_shown(v)}" for k, v in values.items() if not isinstance(v, Mapping)]
    if leaves:
        yield name, leaves
    for key, inner in values.items():
        if isinstance(inner, Mapping):
            yield from _groups(f"{name}.{key}" if name else key, inner)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _wrapped(name: str, leaves: Sequence[str]) -> Iterator[str]:
    line = begun = f"{name}: " if name else ""
    for leaf in leaves:
        if line != begun and len(line) + len(leaf) > _WIDTH:
            yield line.rstrip(", ")
            line = begun = "  "
        line += f"{leaf}, "
    yield line.rstrip(", ")
