"""Flags from settings: name, type, choices, default and help of a field, said nowhere else.

Two classes with a setting of the same name share its flag. What is not given is not passed on, so
each class keeps its own default; where they differ, help names both.
"""

import argparse
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar

from dvse.remote.remote_path import location
from pipelines.commands.answers import place
from pipelines.settings import Setting, make, settings_of

T = TypeVar("T")

_METAVARS = {int: "N", float: "F", Path: "PATH", location: "PATH"}


def add_flags(parser: argparse.ArgumentParser, *classes: type, **labelled: type) -> None:
    """Declare a flag for each setting of the classes.

    Args:
        parser: takes an argument group for each titled section.
        classes: in the order of help.
        labelled: classes after them, with a word for help where their default is another.

    >>> from dataclasses import dataclass
    >>> from pipelines.settings import setting
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Loop:
    ...     num_steps: int = setting(100, "steps to take")
    >>> parser = argparse.ArgumentParser(prog="train")
    >>> add_flags(parser, Loop)
    >>> from_flags(Loop, parser.parse_args(["--num-steps", "5"]))
    Loop(num_steps=5)
    """
    named = [*((cls.__name__, cls) for cls in classes), *labelled.items()]
    declared: dict[str, dict[str, Setting]] = {}
    for label, cls in named:
        for one in settings_of(cls):
            declared.setdefault(one.name, {}).setdefault(label, one)
    groups: dict[str, Any] = {"": parser}
    for name, found in declared.items():
        one = next(iter(found.values()))
        if one.title not in groups:
            groups[one.title] = parser.add_argument_group(one.title)
        _add(groups[one.title], name, found, num_classes=len(named))


def from_flags(cls: type[T], args: argparse.Namespace, **fields: Any) -> T:
    """Return the settings that were given, the others at their default.

    Args:
        fields: of the class, those that no flag gives.

    Raises:
        ConfigError: values that the class refuses.
    """
    given = {k: _value(v) for k, v in vars(args).items() if v is not None}
    return make(cls, given, **fields)


def _add(group: Any, name: str, found: Mapping[str, Setting], *, num_classes: int) -> None:
    one = next(iter(found.values()))
    flag = name.replace("_", "-")
    about = _help(one, found)
    if one.type is bool:
        word = "store_false" if one.default else "store_true"
        flag = f"no-{flag}" if one.default else flag
        group.add_argument(f"--{flag}", dest=name, action=word, default=None, help=about)
        return
    # A place that is refused says why; argparse would hide it.
    kind = place if one.type is location else one.type
    how: dict[str, Any] = {"type": kind, "choices": one.choices or None}
    if one.is_many and one.many == "commas":
        how = {"type": _list_of(one.type)}
    elif one.is_many:
        how["action" if one.many == "again" else "nargs"] = "append" if one.many == "again" else "+"
    metavar = one.metavar or (None if one.choices else _METAVARS.get(one.type, name.upper()))
    is_required = len(found) == num_classes and all(s.default is MISSING for s in found.values())
    group.add_argument(
        f"--{flag}", dest=name, required=is_required, metavar=metavar, help=about, **how
    )


def _help(one: Setting, found: Mapping[str, Setting]) -> str:
    defaults = {label: s.default for label, s in found.items() if _is_worth_saying(s.default)}
    text = one.help.replace("%", "%%")
    if not defaults:
        return text
    first, *others = defaults.items()
    told = _shown(first[1])
    told += "".join(f"; {k}: {_shown(v)}" for k, v in others if v != first[1])
    return f"{text} (default: {told})".strip()


def _is_worth_saying(default: Any) -> bool:
    return default is not MISSING and default not in (None, "", ()) and type(default) is not bool


def _shown(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
    return text.replace("%", "%%")


def _value(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else given


def _list_of(kind: type) -> Any:
    def read(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(one) for one in text.split(",") if one)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"expected numbers with commas between, for example 32,48; received {text!r}"
            ) from None

    return read
