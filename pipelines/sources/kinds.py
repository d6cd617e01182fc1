"""What a file is, judged by its name: the lower-cased extension, `wav.scp` and the like."""

# ruff: noqa: PTH119
# Paths stay strings: they come by the million, and os.path is several times faster.

import os

from dvse.errors import DecodeError, InputError
from dvse.image.formats import ENDINGS
from dvse.remote.address import is_address, name_of
from pipelines.sources.places import file_place
from pipelines.sources.record import HeldPlace, ItemRef, Place, Record, failed, utf8_name
from pipelines.sources.stretches import Stretch

IMAGE = ENDINGS
AUDIO = frozenset(
    f".{ending}"
    for ending in (
        *("wav", "wave", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "aifc", "au", "snd"),
        *("w64", "rf64", "caf", "nist", "sph", "voc", "8svx", "svx", "avr", "htk", "sf", "ircam"),
        *("mp2", "m4a", "m4b", "aac", "adts", "wma", "webm", "mka", "mkv", "mp4", "3gp", "amr"),
        *("ac3", "eac3", "wv", "tta", "ape", "spx", "pvf", "paf", "pcm", "raw"),
    )
)
TEXT = frozenset((".txt", ".text", ".md"))
MEDIA = {
    ending: kind
    for kind, endings in (("image", IMAGE), ("audio", AUDIO), ("text", TEXT))
    for ending in endings
}
OTHER_MEDIA = frozenset(
    f".{ending}"
    for ending in (
        *("avi", "mov", "m4v", "mpg", "mpeg", "wmv", "flv", "f4v", "ogv", "3g2", "mts", "m2ts"),
        *("vob", "rm", "rmvb", "mxf", "svg", "svgz", "eps", "emf", "wmf", "xcf", "exr", "hdr"),
        *("dng", "cr2", "cr3", "nef", "arw", "orf", "raf", "rw2", "pef", "srw", "dcm", "jxr"),
        *("mid", "midi", "dsf", "dff", "gsm", "ra", "mpc", "dts", "awb", "tak", "oma"),
    )
)
"""Pictures, recordings and videos that are refused: they are no text, and no mere name."""
CONTAINERS = {
    ".tar": "tar",
    ".tar.gz": "tar",
    ".tgz": "tar",
    ".tar.bz2": "tar",
    ".tar.xz": "tar",
    ".tbz2": "tar",
    ".txz": "tar",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".scp": "kaldi",
}


def extension(path: str) -> str:
    """Return the lower-cased extension; of `.tar.gz` and its like both parts.

    >>> extension("https://host/a.png?v=1")
    '.png'
    >>> extension("A/B.JPG"), extension("x.tar.gz"), extension("speech.flac.flac"), extension(".x")
    ('.jpg', '.tar.gz', '.flac', '')
    """
    # Asked of every file, by the million.
    name = name_of(path) if "://" in path and is_address(path) else path[path.rfind("/") + 1 :]
    stem, _, ending = name.lower().rpartition(".")
    if not stem.strip("."):
        return ""
    if ending in ("gz", "bz2", "xz"):
        for double in (".tar", ".jsonl"):
            if stem.endswith(double) and len(stem) > len(double):
                return f"{double}.{ending}" if f"{double}.{ending}" in CONTAINERS else f".{ending}"
    return f".{ending}"


def media_kind(path: str, ending: str | None = None) -> str:
    """Return `image`, `audio` or `text`.

    Args:
        path: of the file.
        ending: its extension, where the caller has it already.

    Raises:
        InputError: an extension that stands for none of them; SVG says why.
    """
    ending = extension(path) if ending is None else ending
    if (kind := MEDIA.get(ending)) is not None:
        return kind
    if ending in (".svg", ".svgz"):
        raise DecodeError(
            f"{_name(path)}: SVG pictures are drawings, not pixels; convert it to PNG first"
        )
    raise InputError(
        f"{_name(path)}: expected a picture, a recording or a text, received the unknown "
        f"extension {ending or '(none)'!r}; rename it or leave it out"
    )


def is_like_media(name: str) -> bool:
    """Whether a name is that of a picture, a recording or a video, also of one that is refused.

    >>> is_like_media("a/b.JPG"), is_like_media("clip.avi"), is_like_media("hello.you")
    (True, True, False)
    """
    if len(name) > 4096 or "\n" in name:
        return False
    ending = extension(name)
    return ending in IMAGE or ending in AUDIO or ending in OTHER_MEDIA


def media_record(
    *,
    id: str,
    path: str,
    source: str,
    text: str | None = None,
    stretch: Stretch | None = None,
) -> Record:
    """Return the record of one media file, or its failure where the extension is unknown."""
    try:
        kind = media_kind(path)
    except InputError as error:
        return failed(id, source, error)
    return _record(id, kind, file_place(path), source, text, stretch or Stretch(), _name(path))


def held_record(
    *, id: str, kind: str, data: bytes, source: str, text: str | None, stretch: Stretch
) -> Record:
    """Return the record of a picture or recording whose bytes a line holds, or its failure."""
    return _record(id, kind, HeldPlace(data), source, text, stretch, id)


def _record(
    id: str, kind: str, place: Place, source: str, text: str | None, stretch: Stretch, name: str
) -> Record:
    if stretch.start_s is not None and kind != "audio":
        problem = InputError(f"{name}: only recordings have an offset and a duration")
        return failed(id, source, problem)
    if kind != "audio":
        stretch = Stretch()
    ref = ItemRef(
        kind=kind,  # type: ignore[arg-type]  # the kinds are these
        place=place,
        start_s=stretch.start_s,
        duration_s=stretch.duration_s,
        channels=stretch.channels,
    )
    return Record(id=id, source=source, refs=(ref,), text=text)


def _name(path: str) -> str:
    return utf8_name(os.path.basename(path))
