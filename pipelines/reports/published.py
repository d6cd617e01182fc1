"""What published systems reach, each on its own data: to stand beside figures, not to compare.

`published.toml` has the values; here they are put beside the figures that an evaluation found.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOT_COMPARABLE = (
    "Published figures are of the data named beside them, figures of this evaluation of other "
    "data: they stand beside each other and are not comparable."
)
_TABLE = Path(__file__).with_name("published.toml")


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What one system reached, in the unit of the metric."""

    value: float
    system: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was reached of one figure.

    Attributes:
        figure: for people.
        metrics: dotted places in `metrics.json`, `*` for any one name.
        is_share: shown in percent.
        unlike: what besides the data makes a figure of ours another thing; empty: nothing.
        data: what the published ones are of.
        reached: of some systems.
    """

    figure: str
    metrics: Sequence[str]
    is_share: bool
    unlike: str
    data: str
    reached: Sequence[Reached]


def read_published(path: Path = _TABLE) -> list[Published]:
    """Return the table.

    >>> next(one.data for one in read_published() if one.figure == "rFID")
    'ImageNet 256x256, 50,000 pictures'
    """
    tables = tomllib.loads(path.read_text(encoding="utf-8"))["of"]
    return [Published(**{**t, "reached": [Reached(**r) for r in t["reached"]]}) for t in tables]


def beside(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return for each figure that was found and that somebody published, what was reached.

    Args:
        metrics: the content of `metrics.json`.

    Returns:
        By dotted place the fields of `Published`, the figure `here`, and `reached` as value and
        system.

    >>> found = beside({"image": {"psnr_db": 21.5, "pictures": 9}})["image.psnr_db"]
    >>> found["here"], found["reached"][0]
    (21.5, {'value': 28.9, 'system': 'Emu3'})
    """
    table = read_published()
    found = {}
    for place, value in _numbers("", metrics):
        for one in table:
            if any(_fits(pattern, place) for pattern in one.metrics):
                found[place] = {
                    "figure": one.figure,
                    "is_share": one.is_share,
                    "here": value,
                    "reached": [{"value": r.value, "system": r.system} for r in one.reached],
                    "data": one.data,
                    "unlike": one.unlike,
                }
    return found


def _fits(pattern: str, place: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".+"), place) is not None


def _numbers(place: str, values: Any) -> Iterator[tuple[str, float]]:
    if isinstance(values, Mapping):
        inner = [(str(name), value) for name, value in values.items()]
    elif isinstance(values, list | tuple):
        inner = [(str(number), value) for number, value in enumerate(values)]
    else:
        if isinstance(values, int | float) and not isinstance(values, bool):
            yield place, values
        return
    for name, value in inner:
        yield from _numbers(f"{place}.{name}" if place else name, value)
