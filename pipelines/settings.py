"""Settings, each declared once: a field of a frozen dataclass with its default and a line of help.

A field made by `setting` may be given by a user: as a flag of a command, as a key of a TOML file,
as a line of what is recorded with a result. `section` holds settings of another class. Every other
field of the class is set in Python only. This file knows fields and values; it refuses to know
command lines (`pipelines.commands.fields`) and what any setting is for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dvse.errors import ConfigError
from dvse.remote.remote_path import RemotePath, location

T = TypeVar("T")
Many = Literal["commas", "words", "again"]


def setting(
    default: Any = MISSING,
    help: str = "",
    *,
    name: str | None = None,
    metavar: str | None = None,
    many: Many = "commas",
) -> Any:
    """Declare a field that a user may give.

    Args:
        default: where nobody gives it; without one it has to be given.
        help: one line, without the default.
        name: what users call it; the field's name by default.
        metavar: stands for its value in help.
        many: how the values of a tuple are given: `8,5,5`, several words, or the flag again.
    """
    about = {"help": help, "name": name, "metavar": metavar, "many": many}
    return field(default=default, metadata={"setting": about})


def section(default: Any, title: str = "", *, names: Mapping[str, str] | None = None) -> Any:
    """Declare a field that holds settings.

    Args:
        default: an instance; or a class, for its own defaults.
        title: of the group in help; without one they stand with those around them.
        names: what users call some of its settings here.
    """
    is_class = isinstance(default, type)
    about = {"title": title, "names": dict(names or {}), "held": None if is_class else default}
    if not is_class:
        return field(default_factory=lambda: default, metadata={"section": about})
    if any(one.default is MISSING for one in settings_of(default)):
        return field(metadata={"section": about})
    return field(default_factory=default, metadata={"section": about})


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a class, however deep it lies.

    Attributes:
        name: what users call it.
        path: names of the fields that lead to it.
        type: of its value, `None` apart; of one element, where there are several.
        is_many: whether it is a tuple.
        choices: the values it may have, empty for any of its type.
        default: `dataclasses.MISSING` where it has to be given.
        title: of the section around it.
        help, metavar, many: as in `setting`.
    """

    name: str
    path: tuple[str, ...]
    type: Any
    is_many: bool
    choices: tuple[Any, ...]
    default: Any
    title: str
    help: str
    metavar: str | None
    many: Many


def settings_of(cls: type) -> tuple[Setting, ...]:
    """Return the settings of a class and of its sections, in order.

    >>> @dataclass(frozen=True, kw_only=True)
    ... class Loop:
    ...     num_steps: int = setting(100, "steps to take")
    >>> [(s.name, s.default, s.help) for s in settings_of(Loop)]
    [('num_steps', 100, 'steps to take')]
    """
    return tuple(_walk(cls, None, (), "", {}))


def make(cls: type[T], values: Mapping[str, Any], **others: Any) -> T:
    """Return an instance with these values by users' names; what is not among them has its default.

    Names that the class does not have are left alone, so that classes can share a command line.
    `others` are fields of the class that users do not give.

    Raises:
        ConfigError: a value is missing, or the classes themselves refuse one.
    """
    given = {s.path: values[s.name] for s in settings_of(cls) if s.name in values}
    return _built(cls, None, given | {(name,): value for name, value in others.items()}, ())


def recorded(settings: Any) -> dict[str, Any]:
    """Return all settings by users' names as plain values for JSON; of a path, the last name.

    Where a file lies is the business of the machine it lay on.
    """
    found = {}
    for one in settings_of(type(settings)):
        value = settings
        for name in one.path:
            value = getattr(value, name)
        found[one.name] = _plain(value)
    return found


def from_table(cls: type[T], table: Mapping[str, Any], *, name: str, where: str) -> T:
    """Return an instance from a table of a TOML file.

    Args:
        table: values by users' names.
        name: of the table; where: the file, both for messages.

    Raises:
        ConfigError: a key that the class does not have, or a value of another type.
    """
    known = {s.name: s for s in settings_of(cls)}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(
                f"{where}: unknown setting {name}.{key}; known are {', '.join(known)}"
            )
        if not _is_of(value, known[key]):
            raise ConfigError(
                f"{where}: expected {name}.{key} as {_in_words(known[key])}, received {value!r}"
            )
    return make(cls, {n: tuple(v) if known[n].is_many else v for n, v in table.items()})


def _walk(
    cls: type, instance: Any, path: tuple[str, ...], title: str, names: Mapping[str, str]
) -> Iterator[Setting]:
    types = get_type_hints(cls)
    for one in fields(cls):
        here = (*path, one.name)
        if about := one.metadata.get("section"):
            held = about["held"] if instance is None else getattr(instance, one.name)
            inner = {**about["names"], **names}
            yield from _walk(types[one.name], held, here, about["title"] or title, inner)
        elif about := one.metadata.get("setting"):
            name = about["name"] or one.name
            kind, is_many, choices = _kind(types[one.name])
            yield Setting(
                name=names.get(name, name),
                path=here,
                type=kind,
                is_many=is_many,
                choices=choices,
                default=_default(one) if instance is None else getattr(instance, one.name),
                title=title,
                help=about["help"],
                metavar=about["metavar"],
                many=about["many"],
            )


def _built(
    cls: type[T], instance: Any, given: Mapping[tuple[str, ...], Any], path: tuple[str, ...]
) -> T:
    types = get_type_hints(cls)
    values = {}
    for one in fields(cls):  # type: ignore[arg-type]
        here = (*path, one.name)
        if about := one.metadata.get("section"):
            held = about["held"] if instance is None else getattr(instance, one.name)
            values[one.name] = _built(types[one.name], held, given, here)
        elif here in given:
            values[one.name] = given[here]
        elif instance is not None:
            values[one.name] = getattr(instance, one.name)
        elif (about := one.metadata.get("setting")) and one.default is MISSING:
            raise ConfigError(f"expected {about['name'] or one.name}, it has no default")
    return cls(**values)


def _default(one: Any) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _kind(hint: Any) -> tuple[Any, bool, tuple[Any, ...]]:
    """Return the type of a value (or element), whether there are many, and the choices."""
    is_many = get_origin(hint) is tuple
    if is_many:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, UnionType):
        kinds = [one for one in get_args(hint) if one is not NoneType]
        hint = location if RemotePath in kinds else kinds[0]
        if not is_many and get_origin(hint) is tuple:
            return _kind(hint)
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    return (type(choices[0]) if choices else hint), is_many, choices


def _plain(value: Any) -> Any:
    if isinstance(value, Path | RemotePath):
        return value.name
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    assert not is_dataclass(value)
    return value


def _is_of(value: Any, one: Setting) -> bool:
    if one.is_many:
        return isinstance(value, list) and all(_is_one(v, one) for v in value)
    return _is_one(value, one)


def _is_one(value: Any, one: Setting) -> bool:
    if one.choices:
        return value in one.choices
    return type(value) is one.type or (one.type is float and type(value) is int)


def _in_words(one: Setting) -> str:
    what = " or ".join(map(str, one.choices)) if one.choices else one.type.__name__
    return f"a list of {what}" if one.is_many else what
