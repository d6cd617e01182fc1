"""What stands where in a mosaic, in words, and back: the one answer grammar of `tiny`.

A scene is two rows of two places. A row is told from left to right, rows are joined by *below*:

    a cat left of a truck; below, a ship and a frog         猫在卡车左边;下面是船和青蛙
    a cat; below, a truck                                   (a scene one place wide)
    a cat on the right; below, a truck on the left          (a row with an empty place)

One picture alone is "a photo of a frog" / "一张青蛙的照片".
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
Row: TypeAlias = tuple[str | None, ...]

LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_CHINESE = ("飞机", "汽车", "鸟", "猫", "鹿", "狗", "青蛙", "马", "船", "卡车")
_NAMES: dict[Language, dict[str, str]] = {
    "en": {label: f"{'an' if label[0] in 'aeiou' else 'a'} {label}" for label in LABELS},
    "zh": dict(zip(LABELS, _CHINESE, strict=True)),
}
_NOTHING: dict[Language, str] = {"en": "nothing", "zh": "什么也没有"}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One or two rows of one or two places; `None` is an empty place.

    >>> Scene(rows=(("cat", "truck"), ("ship", "frog"))).describe("en")
    'a cat left of a truck; below, a ship and a frog'
    """

    rows: tuple[Row, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The pictures, from left to right and from top to bottom."""
        return tuple(label for row in self.rows for label in row if label is not None)

    def describe(self, language: Language) -> str:
        """Return the caption."""
        if self.rows == (self.labels,) and len(self.labels) == 1:
            name = _NAMES[language][self.labels[0]]
            return f"a photo of {name}" if language == "en" else f"一张{name}的照片"
        told = [_tell(row, language, is_first=i == 0) for i, row in enumerate(self.rows)]
        return ("; below, " if language == "en" else ";下面是").join(told)


def name_of(label: str, language: Language) -> str:
    """Return a label in words.

    >>> name_of("airplane", "en"), name_of("frog", "zh")
    ('an airplane', '青蛙')
    """
    return _NAMES[language][label]


def parse_scene(text: str) -> Scene | None:
    """Return the scene that a caption in either language tells, `None` where it tells none.

    >>> parse_scene("a cat on the right; below, a truck").rows
    ((None, 'cat'), ('truck',))
    >>> parse_scene("猫在卡车左边;下面是船和青蛙").rows
    (('cat', 'truck'), ('ship', 'frog'))
    """
    rows = [_read(part) for part in re.split(r"; below,|[;;]\s*下面是", text.strip())]
    return None if any(row is None for row in rows) else Scene(rows=tuple(r for r in rows if r))


def _tell(row: Row, language: Language, *, is_first: bool) -> str:
    names = [None if label is None else _NAMES[language][label] for label in row]
    match names:
        case [None] | [None, None]:
            return _NOTHING[language]
        case [only]:
            return str(only)
        case [left, None]:
            return f"{left} on the left" if language == "en" else f"左边的{left}"
        case [None, right]:
            return f"{right} on the right" if language == "en" else f"右边的{right}"
        case [left, right] if is_first:
            return f"{left} left of {right}" if language == "en" else f"{left}在{right}左边"
        case _:
            return f"{names[0]} and {names[1]}" if language == "en" else f"{names[0]}和{names[1]}"


def _read(text: str) -> Row | None:
    if any(word in text for word in _NOTHING.values()):
        return (None, None)
    found = [label for label, _ in sorted(_found(text), key=lambda item: item[1])]
    is_left, is_right = (
        ("on the left" in text or "左边的" in text),
        ("on the right" in text or "右边的" in text),
    )
    match found:
        case [only] if is_left:
            return (only, None)
        case [only] if is_right:
            return (None, only)
        case [_] | [_, _]:
            return tuple(found)
    return None


def _found(text: str) -> list[tuple[str, int]]:
    english = [(m[1], m.start()) for m in re.finditer(r"\ban? (\w+)", text) if m[1] in LABELS]
    chinese = [
        (label, m.start()) for label, name in _NAMES["zh"].items() for m in re.finditer(name, text)
    ]
    return english or chinese
