"""Pictures that show none of the ten kinds, drawn or cut out of files of installed packages.

Files are split by their names: one in five is only ever tested with. Stamps of animals and vehicles
are left out, for some of them are of the ten kinds.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pipelines.tiny.conversations.odd_drawings import HELD_OUT, TRAINED, odd_drawing
from pipelines.tiny.conversations.pen import any_colour

STAMPS = Path("/usr/share/tuxpaint/stamps")
"""Of Debian's `tuxpaint-stamps-default`."""

PHOTOGRAPHS = (Path("/usr/share/backgrounds"), Path("/usr/share/wallpapers"))
"""Of Debian's `gnome-backgrounds`, `mate-backgrounds`, `ukui-wallpapers` and
`plasma-workspace-wallpapers`."""

CLIP_ART = Path("/usr/share/openclipart/png")
"""Of Debian's `openclipart-png`."""

OddKind = Literal["drawing", "stamp", "photograph", "clip_art"]

_SUFFIXES = {".png", ".jpg", ".webp"}
_OF_THE_TEN = {"animals", "vehicles", "military", "hobbies", "town", "seasonal"}
_UNLIKE_THE_TEN = (
    "buildings",
    "buttons",
    "computer",
    "containers",
    "decorations",
    "education",
    "electronics",
    "food",
    "geography",
    "logos",
    "office",
    "people",
    "plants",
    "science",
    "shapes",
    "signs_and_symbols",
    "tools",
)
_LONGEST = 640


@dataclass(frozen=True, kw_only=True)
class OddPictures:
    """Where odd pictures come from.

    Attributes:
        drawings: names of `pipelines.tiny.conversations.odd_drawings`.
        stamps: `uint8 [H, W, 4]` each, with alpha.
        photographs: `uint8 [H, W, 3]` each.
        clip_art: files, which are read when they are drawn.
    """

    drawings: tuple[str, ...]
    stamps: tuple[np.ndarray, ...] = ()
    photographs: tuple[np.ndarray, ...] = ()
    clip_art: tuple[Path, ...] = ()

    def draw(
        self, rng: np.random.Generator, *, side: int = 32, kind: OddKind | None = None
    ) -> np.ndarray:
        """Return a picture `uint8 [side, side, 3]`, of any kind there is unless one is named.

        >>> OddPictures(drawings=("star",)).draw(np.random.default_rng(0), side=16).shape
        (16, 16, 3)
        """
        if kind is None:
            there: dict[OddKind, float] = {
                "drawing": 0.35,
                "stamp": bool(self.stamps) * 0.15,
                "photograph": bool(self.photographs) * 0.35,
                "clip_art": bool(self.clip_art) * 0.15,
            }
            shares = np.array(list(there.values()))
            kind = list(there)[rng.choice(len(there), p=shares / shares.sum())]
        if kind == "drawing":
            return odd_drawing(str(rng.choice(self.drawings)), rng, side=side)
        if kind == "stamp":
            return _stamped(self.stamps[rng.integers(len(self.stamps))], rng, side)
        if kind == "clip_art":
            return _stamped(self._clip_art(rng), rng, side)
        return _cut(self.photographs[rng.integers(len(self.photographs))], rng, side)

    def _clip_art(self, rng: np.random.Generator) -> np.ndarray:
        path = self.clip_art[rng.integers(len(self.clip_art))]
        try:
            return _read(path, "RGBA")
        except Image.DecompressionBombError:  # one poster of the package
            others = tuple(one for one in self.clip_art if one != path)
            return replace(self, clip_art=others)._clip_art(rng)


def load_odd_pictures(
    *,
    is_held_out: bool = False,
    stamps: Path = STAMPS,
    photographs: tuple[Path, ...] = PHOTOGRAPHS,
    clip_art: Path = CLIP_ART,
) -> OddPictures:
    """Read one side of the split; folders that are not there give nothing."""
    return OddPictures(
        drawings=tuple(HELD_OUT if is_held_out else TRAINED),
        stamps=tuple(
            _read(path, "RGBA")
            for path in _files((stamps,), is_held_out)
            if path.relative_to(stamps).parts[0] not in _OF_THE_TEN
        ),
        photographs=tuple(
            _read(path, "RGB") for path in _files(photographs, is_held_out, by_folder=True)
        ),
        clip_art=tuple(_files(tuple(clip_art / name for name in _UNLIKE_THE_TEN), is_held_out)),
    )


def _files(folders: tuple[Path, ...], is_held_out: bool, *, by_folder: bool = False) -> list[Path]:
    """Return one side of the files; a wallpaper's sizes and shades stay together."""
    found = [path for folder in folders for path in sorted(folder.rglob("*"))]
    chosen = []
    for path in found:
        if path.suffix.lower() not in _SUFFIXES or path.stem == "screenshot":
            continue
        above = path.parents[2].name if by_folder and "contents" in path.parts else path.stem
        number = int(hashlib.sha256(above.encode()).hexdigest(), 16)
        if (number % 5 == 0) == is_held_out:
            chosen.append(path)
    return chosen


def _read(path: Path, mode: str) -> np.ndarray:
    with Image.open(path) as image:
        image.draft("RGB", (_LONGEST, _LONGEST))
        image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BOX, reducing_gap=1.0)
        return np.asarray(image.convert(mode))


def _stamped(stamp: np.ndarray, rng: np.random.Generator, side: int) -> np.ndarray:
    ground = (255, 255, 255) if rng.random() < 0.5 else any_colour(rng)
    canvas = Image.new("RGB", (side, side), ground)
    size = max(4, int(side * rng.uniform(0.7, 1.15)))
    image = Image.fromarray(stamp)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image.thumbnail((size, size), Image.Resampling.BOX)
    image = image.resize((max(1, image.width), max(1, image.height)))
    left, top = ((side - v) // 2 + int(rng.integers(-2, 3)) for v in image.size)
    canvas.paste(image, (left, top), image)
    return np.asarray(canvas)


def _cut(photograph: np.ndarray, rng: np.random.Generator, side: int) -> np.ndarray:
    height, width = photograph.shape[:2]
    size = int(min(height, width) * rng.uniform(0.25, 1.0) ** 0.7)
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    image = Image.fromarray(photograph[top : top + size, left : left + size])
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))
