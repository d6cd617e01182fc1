"""A setting is declared once: what is asked of the declaration, and what is made of it."""

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from dvse.errors import ConfigError
from pipelines.settings import from_table, make, recorded, section, setting, settings_of


@dataclass(frozen=True, kw_only=True)
class Shape:
    widths: tuple[int, ...] = setting((4, 2), "channels")
    kind: Literal["a", "b"] = setting("a", "which", name="shape")
    hidden: float = 0.5

    def __post_init__(self) -> None:
        if not self.widths:
            raise ConfigError("expected a width")


def _never() -> dict:
    raise AssertionError("defaults of fields that are no settings are not asked for")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    data: Path = setting(help="pictures")
    shape: Shape = section(Shape(widths=(8,)), "shape", names={"shape": "form"})
    rate: float | None = setting(None, "learning rate")
    held: dict = field(default_factory=dict)


def test_names_paths_types_and_defaults() -> None:
    found = {one.name: one for one in settings_of(Recipe)}
    assert list(found) == ["data", "widths", "form", "rate"]
    assert (found["data"].type, found["data"].default) == (Path, MISSING)
    widths = found["widths"]
    assert (widths.path, widths.type, widths.is_many) == (("shape", "widths"), int, True)
    assert widths.default == (8,)  # the section's own default, not that of its class
    assert (widths.title, found["data"].title) == ("shape", "")
    assert (found["form"].choices, found["form"].type) == (("a", "b"), str)
    assert found["rate"].type is float


def test_defaults_that_nobody_sees_are_not_made() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Heavy:
        steps: int = setting(3, "steps")
        encoder: dict = field(default_factory=_never)

    @dataclass(frozen=True, kw_only=True)
    class Run:
        heavy: Heavy = section(Heavy, "heavy")

    assert [(one.name, one.default) for one in settings_of(Run)] == [("steps", 3)]


def test_making_fills_in_and_leaves_others_alone() -> None:
    recipe = make(Recipe, {"data": Path("a"), "form": "b", "nobody": 1})
    assert recipe == Recipe(data=Path("a"), shape=Shape(widths=(8,), kind="b"))
    with pytest.raises(ConfigError, match="expected data, it has no default"):
        make(Recipe, {"rate": 1.0})
    with pytest.raises(ConfigError, match="expected a width"):
        make(Recipe, {"data": Path("a"), "widths": ()})


def test_a_record_is_flat_and_says_nothing_of_the_machine() -> None:
    recipe = Recipe(data=Path("/somewhere/photos.parquet"), rate=0.1)
    assert recorded(recipe) == {
        "data": "photos.parquet",
        "widths": [8],
        "form": "a",
        "rate": 0.1,
    }


def test_tables_of_a_file() -> None:
    shape = from_table(Shape, {"widths": [1, 2], "shape": "b"}, name="shape", where="r.toml")
    assert shape == Shape(widths=(1, 2), kind="b")
    for table, message in (
        ({"depth": 3}, "r.toml: unknown setting shape.depth; known are widths, shape"),
        ({"widths": 3}, "expected shape.widths as a list of int, received 3"),
        ({"widths": [True]}, "list of int"),
        ({"shape": "c"}, "expected shape.shape as a or b, received 'c'"),
        ({"hidden": 1.0}, "unknown setting shape.hidden"),
    ):
        with pytest.raises(ConfigError, match=message):
            from_table(Shape, table, name="shape", where="r.toml")
